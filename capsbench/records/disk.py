"""Atomic writes: a file is written under a temporary name and renamed. Safe reads of files from untrusted folders."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError

from capsbench.errors import StorageFailed
from capsbench.records.sharing.process import machine_token

LARGEST = 256 * 2**20
"""The largest JSON file that is read, in bytes; the largest records have a few megabytes."""


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for reading; raises OSError also for a pipe or a device, which may never end."""
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # without O_NONBLOCK, opening a pipe would block
    try:
        mode = os.fstat(opened).st_mode
        if stat.S_ISDIR(mode):  # `os.fdopen` would refuse it, too, and leave it open
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with os.fdopen(opened, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(opened)


def read_file(path: Path, largest: float = LARGEST) -> bytes:
    """Reads a file; raises OSError as `open_file`, and for a larger file."""
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > largest:
            raise OSError(errno.EFBIG, f"larger than {largest:,} bytes", str(path))
        return file.read()


def write_file(path: Path, content: bytes) -> None:
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path that replaces ``path`` if the block succeeds; raises StorageFailed."""
    temporary = path.with_name(f".{path.name}.{_own_suffix()}")
    try:
        make_folder(path.parent)
        yield temporary
        put_in_place({temporary: path})
    except (OSError, SafetensorError) as error:
        raise StorageFailed(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
    finally:
        with suppress(OSError):  # what the disk does not let go is swept later
            temporary.unlink(missing_ok=True)


def probe_folder(folder: Path) -> None:
    """Raises OSError if no file can be written in a folder. `sweep_temporaries` removes the probe of a killed process."""
    probe = folder / f".probe.{_own_suffix()}"
    try:
        probe.write_bytes(b"\0" * 4096)
    finally:
        probe.unlink(missing_ok=True)


def put_in_place(paths: Mapping[Path, Path]) -> None:
    """Renames files; their content is on disk before the renames, and their new names are when this returns."""
    for path in paths:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    for path, final in paths.items():
        path.replace(final)
    for folder in {final.parent for final in paths.values()}:
        sync_folder(folder)


def put_folder_in_place(path: Path, final: Path) -> None:
    """Renames a folder, whose name is on disk when this returns; raises OSError if there is one of that name with files in it."""
    path.rename(final)
    sync_folder(final.parent)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Makes a folder and its parents where they are missing; their names are on disk when this returns.

    Args:
        mode: that of the folder itself, if it is made here, before the user's mask.
    """
    if folder.is_dir():
        return
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(mode, parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Writes the names in a folder to disk: a rename alone may be lost when power fails."""
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder may be writable but not readable; it cannot be synced then
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: the file system cannot sync folders
            raise
    finally:
        os.close(opened)


_TEMPORARY = re.compile(r"\.(.+)\.([1-9]\d{0,9})(?:-([0-9a-f]{8}))?")
"""The final name, the process and, but for files of earlier versions, the machine of the process."""

SECONDS_UNTIL_LITTER = 7 * 24 * 3600.0
"""The age of a temporary file of another machine from which it is litter: its process cannot be looked for."""


def _own_suffix() -> str:
    return f"{os.getpid()}-{machine_token()}"


def sweep_temporaries(folders: Iterable[Path], is_ours: Callable[[str], bool] = lambda name: True) -> None:
    """Removes the temporary files that `find_temporaries` yields."""
    for path in find_temporaries(folders, is_ours):
        path.unlink(missing_ok=True)


def find_temporaries(folders: Iterable[Path], is_ours: Callable[[str], bool] = lambda name: True) -> Iterator[Path]:
    """Yields the temporary files that killed processes left in folders.

    Args:
        is_ours: tells by a file's final name if it is one that capsbench writes there.
    """
    for folder in folders:
        for path in folder.glob(".*.*"):
            temporary = _TEMPORARY.fullmatch(path.name)
            if temporary and is_ours(temporary[1]) and _is_litter(path, int(temporary[2]), temporary[3]):
                yield path


def _is_litter(path: Path, process: int, machine: str | None) -> bool:
    if machine in (None, machine_token()):
        return not _is_another_alive(process)
    with suppress(OSError):
        return time.time() - path.stat().st_mtime > SECONDS_UNTIL_LITTER
    return False


def _is_another_alive(process: int) -> bool:
    """Returns true if another process has this id. Our own id may have been that of a killed process before."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it exists, but belongs to another user
        return True
    return True
