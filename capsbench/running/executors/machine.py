"""Takes turns on this machine: a measure of time runs while no other job of capsbench does, whichever command started it.

Two files in the folder for temporary files are locked: ``jobs``, shared by all jobs that may run side by side, and ``alone``,
by one measure of time after the other. The locks end with the process.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from capsbench.records.disk import make_folder


def lock_folder() -> Path:
    """Returns the folder of the locks of this user; they mean this machine, so it lies on no shared disk."""
    return Path(tempfile.gettempdir()) / f"capsbench-{os.getuid()}"


@contextmanager
def share_machine() -> Iterator[bool]:
    """Waits until no measure of time runs, and lets none begin unmarked within the block; yields False, it is not alone."""
    with _lock("jobs", fcntl.LOCK_SH):
        yield False


@contextmanager
def claim_machine() -> Iterator[bool]:
    """Waits for other measures of time; yields True if no other job runs, and then lets none begin within the block."""
    with _lock("alone", fcntl.LOCK_EX), ExitStack() as stack:
        try:
            stack.enter_context(_lock("jobs", fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def _lock(name: str, kind: int) -> Iterator[None]:
    folder = lock_folder()
    make_folder(folder)
    opened = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(opened, kind)
        yield
    finally:
        os.close(opened)  # ends the lock
