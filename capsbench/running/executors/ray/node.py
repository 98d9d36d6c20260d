"""The folder of a run on a node: data sets and a user's own modules, unpacked once, and a folder for the files of each job.

It lies in the node's folder for temporary files, and no other machine sees it. The process that unpacked it, or uses it, holds a
shared lock on it. Folders that nobody holds any more, as after a kill, are removed by the next run on the node.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from capsbench.records.disk import make_folder, put_in_place, write_file
from capsbench.running.executors.machine import lock_folder

_held: dict[Path, int] = {}
"""Folder -> the open file whose lock this process holds until it ends."""


class NodeFolder:
    """The folder of a run on this node.

    Args:
        run: a name that no other run has.
        node: the name of the node, since several nodes of a cluster may be on one machine.
    """

    def __init__(self, run: str, node: str) -> None:
        self.folder = find_base() / f"{run}-{node}"

    def open(self) -> None:
        """Makes the folder, unless it is there, and keeps it from being removed while this process lives."""
        if self.folder in _held:
            return
        while (opened := self._open_lock()) is None:  # another run removes it as abandoned, since nobody held it yet
            pass
        _held[self.folder] = opened
        remove_abandoned()

    def _open_lock(self) -> int | None:
        """Makes the folder and holds its lock; returns None if the folder was removed meanwhile."""
        make_folder(self.folder, mode=0o700)
        path = self.folder / "lock"
        try:
            opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return None
        fcntl.flock(opened, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(opened)):
                return opened
        os.close(opened)
        return None

    def unpack(self, name: str, files: Mapping[str, Callable[[], bytes]]) -> Path:
        """Writes files into a part of the folder, unless they are there, and returns the part.

        Args:
            files: path -> a function that fetches the content.
        """
        part = self.folder / name
        make_folder(part)
        with _lock(self.folder / f"lock-{name}"):  # one process of the node fetches, the others wait for it
            for path, fetch in files.items():
                if not (part / path).exists():
                    write_file(part / path, fetch())
        return part

    @contextmanager
    def make_results_folder(self, files: Mapping[str, bytes]) -> Iterator[Path]:
        """Yields a results folder for one job, with the files that it may read; it is removed after the block."""
        with TemporaryDirectory(dir=self.folder, prefix="job-") as folder:
            for path, content in files.items():
                write_file(Path(folder) / path, content)
            yield Path(folder)

    def leave(self, results: Path, pattern: str) -> None:
        """Keeps some files of the results folder of a job until `read_left`."""
        for path in results.glob(pattern):
            kept = self.folder / "left" / path.relative_to(results)
            make_folder(kept.parent)
            put_in_place({path: kept})

    def wait_for_jobs(self, seconds: float) -> None:
        """Waits until no job has a results folder here, or the time is over."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and any(self.folder.glob("job-*")):
            time.sleep(0.1)

    def read_left(self) -> dict[str, bytes]:
        """Returns path inside the results folder -> content of the files that jobs left."""
        left = self.folder / "left"
        files = [path for path in left.rglob("*") if path.is_file()]
        return {path.relative_to(left).as_posix(): path.read_bytes() for path in files}

    def remove(self) -> None:
        """Removes the folder; no effect if it is gone."""
        shutil.rmtree(self.folder, ignore_errors=True)


def find_base() -> Path:
    """Returns the folder in which this user's runs have their folders on this machine."""
    return lock_folder() / "ray"


def remove_abandoned() -> None:
    """Removes the folders of runs that have no process on this machine any more."""
    for folder in find_base().iterdir():
        # One without a lock was written into after it had been removed, as by a job that ended late.
        with suppress(OSError), _lock(folder / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _lock(path: Path, kind: int = fcntl.LOCK_EX) -> Iterator[None]:
    opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(opened, kind)
        yield
    finally:
        os.close(opened)  # ends the lock
