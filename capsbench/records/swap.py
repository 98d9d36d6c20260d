"""Parts of a folder that take the place of others: all of them or none, whatever stops it.

No rename replaces a folder that is not empty, so it takes several, and between two of them the folder is neither the old nor
the new one. Then it holds

    .update      a marker, locked by the process that is at it; once it says which parts are new, the renames have begun
    .made/       new parts that are not in their place yet
    .replaced/   old parts that are not any more

and whoever opens the folder next finishes what a process that is gone has begun, or sweeps what it had not begun with.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, get_args

from pydantic import TypeAdapter

from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.records import file
from capsbench.records.disk import make_folder, sync_folder
from capsbench.records.parse import UnfitError, parse_json

MARKER, MADE, REPLACED = ".update", ".made", ".replaced"

Part = Literal["records", "kept", "between", "SHA256SUMS"]
PARTS = get_args(Part)
"""What is replaced in a folder of records; what else it holds, such as a note of somebody's, stays."""


@dataclass(frozen=True)
class _Begun:
    """What the marker says once the renames have begun: the parts that are new."""

    new: list[Part]


_BEGUN = TypeAdapter(_Begun)

_LITTER = re.compile(r"\.(made|replaced)(-[a-z0-9_]{8})?")
"""The folders beside the marker, and as they were called before there was one."""

PATIENCE = 10.0
"""Seconds for which who opens a folder waits for who replaces its parts."""


@contextmanager
def replace_parts(folder: Path, flag: str) -> Iterator[Path]:
    """A folder for new parts, of `PARTS`, which take the place of all old ones once the block has ended well.

    Args:
        flag: the flag that names the folder, which is made where there is none.

    Raises:
        UsageError: it cannot be written, or another process is at it.
        StorageFailed: the disk does not take it. All is as before then, or so it is once the folder is opened again.
    """
    try:
        make_folder(folder)
    except OSError as error:
        raise _unwritable(folder, flag, error) from error
    with _hold(folder, flag, patience=0) as marker:
        _settle(folder, flag, marker)
        new: list[str] = []
        try:
            (folder / MADE).mkdir()
            yield folder / MADE
            new = [name for name in PARTS if (folder / MADE / name).exists()]
            sync_folder(folder)  # what is new has its names before anything old is moved
            _note(marker, file.seal({"schema": file.SCHEMA, "new": new}))
            _put(folder, new)
        except BaseException as error:  # an interrupt too
            _undo(folder, marker, new)
            if isinstance(error, OSError):
                left = "; the next command that reads it mends that" if os.path.lexists(folder / MARKER) else ""
                raise StorageFailed(f"{folder}: cannot be written: {error.strerror}{left}") from error
            raise
        _leave(folder)


def settle(folder: Path, flag: str) -> None:
    """Finishes what a process that is gone has begun to replace in a folder.

    Raises:
        UsageError: it cannot be finished here, or another process is still at it.
    """
    if not os.path.lexists(folder / MARKER):
        return
    with _hold(folder, flag, patience=PATIENCE) as marker:
        _settle(folder, flag, marker)
        _leave(folder)


def _settle(folder: Path, flag: str, marker: IO[bytes]) -> None:
    new = _read(folder, flag, marker)
    try:
        if new is not None:
            _put(folder, new)
        _sweep(folder)
        _note(marker, b"")
    except OSError as error:
        problem = f"an update that was stopped half way cannot be finished: {error.strerror}"
        raise UsageError(Kind.INACCESSIBLE, problem, flag=flag, file=folder) from error


def _put(folder: Path, new: Collection[str]) -> None:
    """Moves the old parts out and the new ones in, from wherever that was stopped."""
    made, replaced = folder / MADE, folder / REPLACED
    for beside in (made, replaced):  # where all was in place, they may have been removed
        beside.mkdir(exist_ok=True)
    for name in PARTS:
        if name in new and not os.path.lexists(made / name):
            continue  # it is in its place
        if os.path.lexists(folder / name):
            (folder / name).rename(replaced / name)
        if name in new:
            (made / name).rename(folder / name)
    for each in (replaced, made, folder):
        sync_folder(each)


def _undo(folder: Path, marker: IO[bytes], new: Collection[str]) -> None:
    """Moves all back, as far as the disk lets; with what it does not let the marker stays, for who opens the folder next."""
    made, replaced = folder / MADE, folder / REPLACED
    with suppress(OSError):
        for name in reversed(PARTS):
            if os.path.lexists(replaced / name):
                if os.path.lexists(folder / name):
                    (folder / name).rename(made / name)
                (replaced / name).rename(folder / name)
            elif name in new and not os.path.lexists(made / name):
                (folder / name).rename(made / name)
        sync_folder(folder)
        _note(marker, b"")  # before anything is removed: from here on there is nothing to finish
        _leave(folder)


def _leave(folder: Path) -> None:
    """Removes what lies beside the parts, the marker last; what the disk does not let go is removed by who opens it next."""
    with suppress(OSError):
        _sweep(folder)
        (folder / MARKER).unlink()
        sync_folder(folder)


def _sweep(folder: Path) -> None:
    for path in folder.iterdir():
        if _LITTER.fullmatch(path.name):
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path)


def _note(marker: IO[bytes], content: bytes) -> None:
    """Writes the marker's content, in its place: a part of it is as none."""
    os.ftruncate(marker.fileno(), 0)
    marker.seek(0)
    marker.write(content)
    marker.flush()
    os.fsync(marker.fileno())


def _read(folder: Path, flag: str, marker: IO[bytes]) -> list[str] | None:
    """The parts that are new; None where the renames had not begun.

    Raises:
        UsageError: no update of ours left the folder so.
    """
    marker.seek(0)
    content = marker.read(4096)
    if not file.is_whole(content):
        return None
    try:
        begun = parse_json(_BEGUN, content)
    except UnfitError:
        begun = None
    if begun is None or any((folder / name).is_symlink() for name in (MADE, REPLACED)):
        problem = f"its {MARKER} is none that an update left"
        raise UsageError(Kind.DAMAGED, problem, flag=flag, file=folder, expected="remove it")
    return [*begun.new]


@contextmanager
def _hold(folder: Path, flag: str, patience: float) -> Iterator[IO[bytes]]:
    """The marker, open and locked. The lock ends with the process, and the file with the one that is done."""
    path = folder / MARKER
    until = time.monotonic() + patience
    while True:
        with _open(path, folder, flag) as marker:
            try:
                fcntl.flock(marker.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    problem = "another capsbench is putting records there"
                    raise UsageError(Kind.BUSY, problem, flag=flag, file=folder, expected="wait for it") from None
                time.sleep(0.05)
                continue
            if _is_at(path, marker):
                yield marker
                return


def _open(path: Path, folder: Path, flag: str) -> IO[bytes]:
    # The folder may be anyone's: no link is followed, and no pipe waited for.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        marker = os.fdopen(os.open(path, flags, 0o666), "r+b")
    except OSError as error:
        raise _unwritable(folder, flag, error) from error
    if not stat.S_ISREG(os.fstat(marker.fileno()).st_mode):
        marker.close()
        raise UsageError(Kind.DAMAGED, f"its {MARKER} is no file", flag=flag, file=folder, expected="remove it")
    return marker


def _is_at(path: Path, marker: IO[bytes]) -> bool:
    """Whether a file that is open still has that name: who held it before removes it."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(marker.fileno()))
    except FileNotFoundError:
        return False


def _unwritable(folder: Path, flag: str, error: OSError) -> UsageError:
    return UsageError(Kind.INACCESSIBLE, f"cannot be written: {error.strerror}", flag=flag, file=folder)
