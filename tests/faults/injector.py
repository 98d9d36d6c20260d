"""Faults of a disk, the end of a process, at the n-th file operation of a block, and a clock that jumps.

    with faults(folder) as operations:                       # none; tells what there is to break
        work()
    with pytest.raises(Killed), faults(folder, at=3):        # as if the process were killed before its fourth operation
        work()
    with faults(folder, at=3, error=errno.EIO):              # the fourth alone fails
        work()
    with faults(folder, at=3, error=errno.ENOSPC, of=SPACE, lasting=True):   # from the fourth on that takes space, all fail
        work()
    with jumping_clock([-3600, 86400]):                      # set back by an hour, then a day ahead, and so on
        work()

Operations are those that change what is in a folder. A process that was killed does nothing more: every later operation raises
`Killed` too, so that no handler cleans up on the disk. Of a write that is stopped half is written.
"""

from __future__ import annotations

import builtins
import io
import itertools
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

BY_PATH = ("mkdir", "rename", "replace", "unlink", "remove", "rmdir", "symlink", "link", "truncate")
BY_DESCRIPTOR = ("fsync", "ftruncate", "write")
OPERATIONS = frozenset({*BY_PATH, *BY_DESCRIPTOR, "open"})

SPACE = frozenset({"open", "write", "mkdir", "fsync"})
"""What a full disk refuses."""

RENAMES = frozenset({"rename", "replace", "unlink", "remove", "rmdir", "ftruncate"})
"""What takes a file's name from it, or its content."""


class Killed(BaseException):
    """The process is dead."""


class _Faults:
    def __init__(self, folder: Path, at: int | None, error: int | None, of: Collection[str], lasting: bool) -> None:
        self.folder, self.at, self.error, self.of, self.lasting = folder.resolve(), at, error, of, lasting
        self.operations: list[str] = []
        self.over = False

    def reach(self, name: str, path: Any) -> bool:
        """Counts an operation; whether it is the one that is stopped. Raises for what comes after it."""
        where = self._place(path)
        if where is None:
            return False
        if self.over and self.error is None:
            raise Killed
        if name not in self.of:
            return False
        stopped = len(self.operations) == self.at or (self.over and self.lasting)
        self.operations.append(f"{name} {where}")
        self.over = self.over or stopped
        return stopped

    def stop(self) -> None:
        if self.error is None:
            raise Killed
        raise OSError(self.error, os.strerror(self.error))

    def _place(self, path: Any) -> str | None:
        """Where in the folder; None where it is elsewhere. What is named within an open folder is taken to be in there."""
        if isinstance(path, int):
            try:
                path = Path(f"/proc/self/fd/{path}").readlink()
            except OSError:
                return "?"
            if not path.is_absolute():  # a pipe
                return None
        whole = Path(os.fsdecode(path)).absolute()
        return str(whole.relative_to(self.folder)) if whole.is_relative_to(self.folder) else None


class _Writing:
    """A file open for writing, whose writes are operations."""

    def __init__(self, opened: Any, faults: _Faults) -> None:
        self._opened, self._faults = opened, faults

    def write(self, content: Any) -> Any:
        if self._faults.reach("write", self._opened.fileno()):
            self._opened.write(content[: len(content) // 2])
            self._opened.flush()
            self._faults.stop()
        return self._opened.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened, name)

    def __enter__(self) -> _Writing:
        return self

    def __exit__(self, *_: Any) -> None:
        self._opened.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._opened)


@contextmanager
def faults(
    folder: Path,
    *,
    at: int | None = None,
    error: int | None = None,
    of: Collection[str] = OPERATIONS,
    lasting: bool = False,
) -> Iterator[list[str]]:
    """Breaks one file operation within a folder, in this process; see the module.

    Args:
        at: which, from 0; None: none.
        error: number of the error that it meets; None: the process is killed there.
        of: the operations that count.
        lasting: all that come after fail as well.

    Yields:
        The operations so far, such as ``rename records``.
    """
    made = _Faults(folder, at, error, of, lasting)

    def by_path(name: str) -> Callable[..., Any]:
        function = getattr(os, name)

        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            held = named.get("dir_fd")
            if made.reach(name, path if held is None else held):
                made.stop()
            return function(path, *arguments, **named)

        return call

    def write(descriptor: int, content: Any) -> int:
        if made.reach("write", descriptor):
            os_write(descriptor, content[: len(content) // 2])
            made.stop()
        return os_write(descriptor, content)

    def os_open(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and made.reach("open", path):
            made.stop()
        return open_descriptor(path, flags, *arguments, **named)

    def open_(path: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        writes = set(mode) & set("wax+")
        if writes and not isinstance(path, int) and made.reach("open", path):
            made.stop()
        opened = open_file(path, mode, *arguments, **named)
        return _Writing(opened, made) if writes else opened

    os_write, open_descriptor, open_file = os.write, os.open, io.open
    with pytest.MonkeyPatch.context() as patch:
        for name in BY_PATH:
            patch.setattr(os, name, by_path(name))
        for name in ("fsync", "ftruncate"):
            patch.setattr(os, name, by_path(name))
        patch.setattr(os, "write", write)
        patch.setattr(os, "open", os_open)
        patch.setattr(io, "open", open_)
        patch.setattr(builtins, "open", open_)
        yield made.operations


@contextmanager
def jumping_clock(seconds: Sequence[float]) -> Iterator[None]:
    """Has each reading of the date be off by another of some seconds, in turn, for all of capsbench and for `time.time`."""
    off = itertools.cycle(seconds)
    right = time.time

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + timedelta(seconds=next(off))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: right() + next(off))
        for name, module in [*sys.modules.items()]:
            if name.startswith("capsbench.") and getattr(module, "datetime", None) is datetime:
                patch.setattr(module, "datetime", Jumping)
        yield
