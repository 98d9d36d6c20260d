"""Atomic replacement of parts of a folder: all of them or none, even if the process is killed.

A rename cannot replace a folder that is not empty, so a replacement takes several renames. Between two of them the folder holds a
mixture of old and new parts, and beside them

    .update      a marker, locked by the updating process; once it names the new parts, the renames have begun
    .made/       new parts that are not in place yet
    .replaced/   old parts that have been moved away

The next process that opens the folder finishes the renames of a killed one, or removes its new parts if no rename had begun.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, TypeVar, get_args

from pydantic import TypeAdapter

from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.records import file
from capsbench.records.disk import make_folder, sync_folder
from capsbench.records.parse import UnfitError, parse_json

MARKER, MADE, REPLACED = ".update", ".made", ".replaced"

T = TypeVar("T")

Part = Literal["records", "kept", "between", "requirements", "SHA256SUMS"]
PARTS = get_args(Part)
"""The parts of a folder of records that are replaced; other files stay."""


@dataclass(frozen=True)
class _Begun:
    """The marker's content once the renames have begun: the new parts."""

    new: list[Part]


_BEGUN = TypeAdapter(_Begun)

_LITTER = re.compile(r"\.(made|replaced)(-[a-z0-9_]{8})?")
"""The folders beside the marker, and their names in versions without a marker."""

ATTEMPTS = 5
"""Times that a folder is read if its parts are replaced meanwhile."""

PATIENCE = 10.0
"""Seconds to wait for another process that replaces parts of the folder."""


@contextmanager
def replace_parts(folder: Path, flag: str) -> Iterator[Path]:
    """Yields a folder for new `PARTS`, which replace all old ones if the block succeeds.

    Args:
        folder: made if it does not exist.
        flag: the flag that names the folder.

    Raises:
        UsageError: the folder cannot be written, or another process is updating it.
        StorageFailed: a file cannot be written. The folder is then as before, at the latest after the next `finish_update`.
    """
    try:
        make_folder(folder)
    except OSError as error:
        raise _to_usage_error(folder, flag, error) from error
    with _lock_marker(folder, flag, patience=0) as marker:
        _finish_renames(folder, flag, marker)
        new: list[str] = []
        try:
            (folder / MADE).mkdir()
            yield folder / MADE
            new = [name for name in PARTS if (folder / MADE / name).exists()]
            sync_folder(folder)  # the new parts are on disk under .made before any old part moves
            _write_marker(marker, file.seal_json({"schema": file.SCHEMA, "new": new}))
            _move_parts(folder, new)
        except BaseException as error:  # an interrupt too
            _undo_moves(folder, marker, new)
            if isinstance(error, OSError):
                left = (
                    "; the next command that reads the folder restores it" if os.path.lexists(folder / MARKER) else ""
                )
                raise StorageFailed(f"{folder}: cannot be written: {error.strerror}{left}") from error
            raise
        _remove_traces(folder)


def finish_update(folder: Path, flag: str) -> None:
    """Finishes or discards the update of a folder that a killed process left.

    Raises:
        UsageError: the update cannot be finished, or another process is still updating the folder.
    """
    if not os.path.lexists(folder / MARKER):
        return
    with _lock_marker(folder, flag, patience=PATIENCE) as marker:
        _finish_renames(folder, flag, marker)
        _remove_traces(folder)


def read_whole(folder: Path, flag: str, read: Callable[[], T]) -> T:
    """Calls ``read``, and calls it again if another process replaced parts of the folder meanwhile.

    Raises:
        UsageError: from ``read``; the folder was replaced during each of several attempts; or as `finish_update`.
    """
    for _ in range(ATTEMPTS):
        if folder.is_dir():
            finish_update(folder, flag)
        before = _identify_parts(folder)
        try:
            result = read()
        except UsageError:  # a part may have been missing between two renames
            if _identify_parts(folder) == before:
                raise
            continue
        if _identify_parts(folder) == before:
            return result
    raise UsageError(
        Kind.BUSY, "another capsbench is updating its records", flag=flag, file=folder, expected="wait for it"
    )


def _identify_parts(folder: Path) -> list[tuple[int, int] | None]:
    """Returns what changes when a part is replaced: the inode of each, and the time of the last rename in the folder."""
    stamps: list[tuple[int, int] | None] = []
    for path in (folder, *(folder / name for name in PARTS)):
        try:
            status = path.stat()
        except OSError:
            stamps.append(None)
        else:
            # Runs change the parts' own times as they write records; that replaces nothing.
            stamps.append((status.st_ino, status.st_mtime_ns if path == folder else 0))
    return stamps


def _finish_renames(folder: Path, flag: str, marker: IO[bytes]) -> None:
    new = _read_marker(folder, flag, marker)
    try:
        if new is not None:
            _move_parts(folder, new)
        _remove_litter(folder)
        _write_marker(marker, b"")
    except OSError as error:
        problem = f"an interrupted update cannot be finished: {error.strerror}"
        raise UsageError(Kind.INACCESSIBLE, problem, flag=flag, file=folder) from error


def _move_parts(folder: Path, new: Collection[str]) -> None:
    """Moves the old parts out and the new ones in; it may be repeated after any interruption."""
    new_folder, old_folder = folder / MADE, folder / REPLACED
    for beside in (new_folder, old_folder):  # an interrupted `_remove_traces` may have removed them
        beside.mkdir(exist_ok=True)
    for name in PARTS:
        if name in new and not os.path.lexists(new_folder / name):
            continue  # it is in place already
        if os.path.lexists(folder / name):
            (folder / name).rename(old_folder / name)
        if name in new:
            (new_folder / name).rename(folder / name)
    for changed in (old_folder, new_folder, folder):
        sync_folder(changed)


def _undo_moves(folder: Path, marker: IO[bytes], new: Collection[str]) -> None:
    """Moves all parts back; if the disk refuses, the marker stays, and `finish_update` moves the parts to their new places."""
    new_folder, old_folder = folder / MADE, folder / REPLACED
    with suppress(OSError):
        for name in reversed(PARTS):
            if os.path.lexists(old_folder / name):
                if os.path.lexists(folder / name):
                    (folder / name).rename(new_folder / name)
                (old_folder / name).rename(folder / name)
            elif name in new and not os.path.lexists(new_folder / name):
                (folder / name).rename(new_folder / name)
        sync_folder(folder)
        _write_marker(marker, b"")  # before anything is removed, so that nobody tries to finish the renames
        _remove_traces(folder)


def _remove_traces(folder: Path) -> None:
    """Removes the folders beside the parts, then the marker; what cannot be removed is left to the next `finish_update`."""
    with suppress(OSError):
        _remove_litter(folder)
        (folder / MARKER).unlink()
        sync_folder(folder)


def _remove_litter(folder: Path) -> None:
    for path in folder.iterdir():
        if _LITTER.fullmatch(path.name):
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path)


def _write_marker(marker: IO[bytes], content: bytes) -> None:
    """Overwrites the marker's content; a partly written marker counts as empty, since its seal does not match."""
    os.ftruncate(marker.fileno(), 0)
    marker.seek(0)
    marker.write(content)
    marker.flush()
    os.fsync(marker.fileno())


def _read_marker(folder: Path, flag: str, marker: IO[bytes]) -> list[str] | None:
    """Reads the new parts from the marker; None if the renames had not begun.

    Raises:
        UsageError: the marker or a folder beside it was not left by capsbench.
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
        problem = f"its {MARKER} was not written by an update"
        raise UsageError(Kind.DAMAGED, problem, flag=flag, file=folder, expected="remove it")
    return [*begun.new]


@contextmanager
def _lock_marker(folder: Path, flag: str, patience: float) -> Iterator[IO[bytes]]:
    """Yields the marker, open and locked; the lock ends with the process."""
    path = folder / MARKER
    until = time.monotonic() + patience
    while True:
        with _open_marker(path, folder, flag) as marker:
            try:
                fcntl.flock(marker.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    problem = "another capsbench is updating its records"
                    raise UsageError(Kind.BUSY, problem, flag=flag, file=folder, expected="wait for it") from None
                time.sleep(0.05)
                continue
            if _is_at(path, marker):
                yield marker
                return


def _open_marker(path: Path, folder: Path, flag: str) -> IO[bytes]:
    # The folder is untrusted: follow no link, and do not block on a pipe.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        marker = os.fdopen(os.open(path, flags, 0o666), "r+b")
    except OSError as error:
        raise _to_usage_error(folder, flag, error) from error
    if not stat.S_ISREG(os.fstat(marker.fileno()).st_mode):
        marker.close()
        raise UsageError(
            Kind.DAMAGED, f"its {MARKER} is not a regular file", flag=flag, file=folder, expected="remove it"
        )
    return marker


def _is_at(path: Path, marker: IO[bytes]) -> bool:
    """Returns true if the open file still has that name: the process that held the lock before may have removed it."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(marker.fileno()))
    except FileNotFoundError:
        return False


def _to_usage_error(folder: Path, flag: str, error: OSError) -> UsageError:
    return UsageError(Kind.INACCESSIBLE, f"cannot be written: {error.strerror}", flag=flag, file=folder)
