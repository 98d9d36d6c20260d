"""The console script: it handles Ctrl-C before any slow import."""

from __future__ import annotations

import sys

from capsbench.cli.shell.interrupt import answer_interrupts


def main() -> None:
    """Calls the command that was typed."""
    answer_interrupts()
    from capsbench.cli.commands import call_command

    sys.exit(call_command())
