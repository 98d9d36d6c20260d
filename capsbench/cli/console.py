"""Printing of lines that any terminal can show."""

from __future__ import annotations

import io
import os
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from capsbench.presenting.terminal import REPLACING, make_console, plain_streams, to_one_line


@contextmanager
def print_anywhere() -> Iterator[None]:
    """Replaces characters that a terminal lacks, and escape sequences, in everything that is printed.

    The text may come from records and files of anyone.
    """
    # A shell can close them by >&-. Else the next file that is opened would take their place.
    sys.stdout, sys.stderr = (stream or Path(os.devnull).open("w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=REPLACING)
    with plain_streams():
        yield


def print_line(line: object) -> None:
    """Prints a text as one line."""
    print(to_one_line(line))


def print_prose(text: object) -> None:
    """Prints a text that a terminal breaks between words, an item below its first letter; elsewhere it is one line."""
    line = to_one_line(text)
    if sys.stdout.isatty():
        indent = "  " if line.startswith("- ") else ""
        width = make_console().width
        line = textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    print(line)


def print_warning(line: object) -> None:
    """Prints a text as one line to stderr, apart from output that programs may read."""
    print(f"capsbench: {to_one_line(line)}", file=sys.stderr)
