"""Files that are whole or absent: written under a temporary name, and renamed; and files of folders that may be anyone's."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from capsbench.errors import StorageFailed

LARGEST = 256 * 2**20
"""Bytes of a file of JSON that is read whole; the largest records have a few megabytes."""


def read_file(path: Path, largest: float = LARGEST) -> bytes:
    """The content of a file; raises OSError, also for what is larger, and for a pipe or a device, which may never end."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a pipe would wait for who writes
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if status.st_size > largest:
            raise OSError(errno.EFBIG, f"larger than {largest:,} bytes", str(path))
        return file.read()


def write_file(path: Path, content: bytes) -> None:
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place once the block has ended well; raises StorageFailed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
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
    """Raises OSError where a file cannot be written in a folder; one that is killed leaves what `sweep_temporaries` removes."""
    probe = folder / f".probe.{os.getpid()}"
    try:
        probe.write_bytes(b"\0" * 4096)
    finally:
        probe.unlink(missing_ok=True)


def put_in_place(paths: Mapping[Path, Path]) -> None:
    """Renames files of one folder or more: the disk has their content before, and their names after."""
    for path in paths:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    for path, final in paths.items():
        path.replace(final)
    for folder in {final.parent for final in paths.values()}:
        sync_folder(folder)


def make_folder(folder: Path) -> None:
    """Makes a folder and those that it lies in, where they are not there; the disk has their names then."""
    if folder.is_dir():
        return
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in made:
        sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """Has the disk take what the files of a folder are called, as a rename alone does not."""
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one may write into a folder that one may not read, and then not do this
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of file systems that have no such thing
            raise
    finally:
        os.close(opened)


_TEMPORARY = re.compile(r"\.(.+)\.([1-9]\d{0,9})")


def sweep_temporaries(folders: Iterable[Path], is_ours: Callable[[str], bool] = lambda name: True) -> None:
    """Removes the temporary files that killed processes left in some folders.

    Args:
        is_ours: whether a file of that name is one that is written there.
    """
    for folder in folders:
        for path in folder.glob(".*.*"):
            temporary = _TEMPORARY.fullmatch(path.name)
            if temporary and is_ours(temporary[1]) and not _is_another_alive(int(temporary[2])):
                path.unlink(missing_ok=True)


def _is_another_alive(process: int) -> bool:
    """Whether a process other than this one has that number, which this one may have got from one that was killed."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        return True
    return True
