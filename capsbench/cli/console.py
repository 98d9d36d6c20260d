"""How commands print."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from capsbench.presenting.terminal import REPLACING, plain_streams, to_one_line


@contextmanager
def print_anywhere() -> Iterator[None]:
    """Has what is printed, tables and file names included, come out on terminals that lack some of its characters.

    Nothing of it is acted on: it may be text of records and files from anywhere.
    """
    # A shell can close them, by >&-. They get their places back, which else the next file that is opened would have.
    sys.stdout, sys.stderr = (stream or Path(os.devnull).open("w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=REPLACING)
    with plain_streams():
        yield


def say(line: object) -> None:
    """Prints one line, whatever is in it."""
    print(to_one_line(line))


def warn(line: object) -> None:
    """Says something in one line beside what a command prints, which programs may read."""
    print(f"capsbench: {to_one_line(line)}", file=sys.stderr)
