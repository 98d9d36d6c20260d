"""Takes turns on this machine: a measure of time runs while no other job of capsbench does, whichever command started it.

Two files in the folder for temporary files are locked: ``jobs``, shared by all jobs that may run side by side, and ``alone``,
by one measure of time after the other. The locks end with the process.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
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
    with _lock("alone", fcntl.LOCK_EX) as file, ExitStack() as stack:
        os.truncate(file, 0)
        os.write(file, str(os.getpid()).encode())  # tells those who wait whom they wait for
        try:
            stack.enter_context(_lock("jobs", fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def explain_wait(alone: bool) -> str | None:
    """Returns a line for the user if a job would wait for the machine now, else None.

    Args:
        alone: as for `claim_machine`, rather than `share_machine`.
    """
    try:
        with _lock(*(("alone", fcntl.LOCK_EX | fcntl.LOCK_NB) if alone else ("jobs", fcntl.LOCK_SH | fcntl.LOCK_NB))):
            return None
    except BlockingIOError:
        with suppress(OSError, ValueError):
            holder = int((lock_folder() / "alone").read_text())
            return f"waiting until process {holder} has measured times on this machine, {GOES_ON}"
        return f"waiting until another run has measured times on this machine, {GOES_ON}"


GOES_ON = "which needs it alone; Ctrl-C ends this run, and the same command later goes on"


@contextmanager
def _lock(name: str, kind: int) -> Iterator[int]:
    """Holds the lock of a file, and yields its descriptor."""
    folder = lock_folder()
    make_folder(folder)
    opened = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(opened, kind)
        yield opened
    finally:
        os.close(opened)  # ends the lock
