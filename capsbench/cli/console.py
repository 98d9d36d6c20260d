"""How commands print."""

from __future__ import annotations

import sys

from rich.console import Console


def make_console() -> Console:
    # Piped output is not folded at 80 columns: a program or a file has no width.
    return Console() if sys.stdout.isatty() else Console(width=240)


def say(line: str) -> None:
    print(line)


def warn(line: str) -> None:
    """Says something beside what a command prints, which programs may read."""
    print(f"capsbench: {line}", file=sys.stderr)
