"""Files that are whole or absent: written under a temporary name, and renamed; and files of folders that may be anyone's."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from capsbench.errors import StorageFailed

LARGEST = 256 * 2**20
"""Bytes of a file that is read whole; the largest records have a few megabytes."""


def read_file(path: Path, largest: int = LARGEST) -> bytes:
    """The content of a file; raises OSError, also for what is larger, and for a pipe or a device, which may never end."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a pipe would wait for who writes
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"larger than {largest:,} bytes", str(path))
    return content


def write_file(path: Path, content: bytes) -> None:
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place once the block has ended well; raises StorageFailed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise StorageFailed(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
