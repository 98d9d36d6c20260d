"""How commands print."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from capsbench.presenting.terminal import one_line, plain_streams

PLAIN = {"±": "+-", "≤": "<=", "≥": ">=", "→": "->", "∞": "inf", "µ": "u", "†": "+"}
"""What stands for a character that a terminal lacks; for others what Unicode takes apart (² is 2, … is ...), else "?"."""


@contextmanager
def print_anywhere() -> Iterator[None]:
    """Has what is printed, tables and file names included, come out on terminals that lack some of its characters.

    Nothing of it is acted on: it may be text of records and files from anywhere.
    """
    codecs.register_error("capsbench", _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="capsbench")
    with plain_streams():
        yield


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(letter) or _taken_apart(letter) for letter in lacking), error.end


def _taken_apart(letter: str) -> str:
    plain = "".join(part for part in unicodedata.normalize("NFKD", letter) if part.isascii())
    return plain or "?"


def say(line: object) -> None:
    """Prints one line, whatever is in it."""
    print(one_line(line))


def warn(line: object) -> None:
    """Says something in one line beside what a command prints, which programs may read."""
    print(f"capsbench: {one_line(line)}", file=sys.stderr)
