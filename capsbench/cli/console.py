"""How commands print."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

from rich.console import Console

PLAIN = {"±": "+-", "≤": "<=", "≥": ">=", "→": "->", "∞": "inf", "µ": "u", "†": "+"}
"""What stands for a character that a terminal lacks; for others what Unicode takes apart (² is 2, … is ...), else "?"."""


def print_anywhere() -> None:
    """Has what is printed, tables and file names included, come out on terminals that lack some of its characters."""
    codecs.register_error("capsbench", _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="capsbench")


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(letter) or _taken_apart(letter) for letter in lacking), error.end


def _taken_apart(letter: str) -> str:
    plain = "".join(part for part in unicodedata.normalize("NFKD", letter) if part.isascii())
    return plain or "?"


def make_console() -> Console:
    # Piped output is not folded at 80 columns: a program or a file has no width.
    return Console() if sys.stdout.isatty() else Console(width=240)


def say(line: str) -> None:
    print(line)


def warn(line: str) -> None:
    """Says something beside what a command prints, which programs may read."""
    print(f"capsbench: {line}", file=sys.stderr)
