"""Decoded images of a user's own in a file, from which they are read without decoding them again.

A file is an array of NumPy's format, followed by the SHA-256 of its numbers. Its name is a digest of what the numbers follow
from. It can be deleted at any time.
"""

from __future__ import annotations

import errno
import hashlib
import math
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from rich.filesize import decimal

from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.records.disk import find_temporaries, replace_file, sweep_temporaries

FOLDER = ".decoded"
"""The folder of the files inside the data folder; hidden, since a data folder may itself be a folder of images."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The errors of a disk that has no room. Other errors are those of a data folder that nobody may write to."""

_NAME = re.compile(r"[0-9a-f]{32}\.npy")
"""The name of a file; others in the folder are not ours."""

_BLOCK = 2**20

Levels = NDArray[Any]
"""Images ``[N, C, H, W]``, uint8 or float32."""


class DeeperError(ValueError):
    """Raised for an image whose pixels bytes cannot hold."""


def open_decoded(
    folder: Path, name: str, shape: tuple[int, ...], decode: Callable[[np.dtype[Any]], Iterable[Levels]]
) -> Levels:
    """Returns decoded images, mapped from a file, which is written first unless it is there and whole.

    Args:
        folder: the data folder. If it cannot be written to, the images lie in a temporary file.
        name: the digest of the images and of how they are decoded.
        shape: ``[N, C, H, W]``.
        decode: yields the N images in the given type, uint8 or float32; raises DeeperError if bytes do not suffice.

    Raises:
        UsageError: the disk is full.
    """
    path = folder / FOLDER / f"{name}.npy"
    with suppress(OSError, ValueError), path.open("rb") as file:
        return _map_whole(file)
    try:
        with suppress(OSError):
            sweep_temporaries([path.parent])
        with replace_file(path) as temporary, temporary.open("wb+") as file:
            _write_levels(file, shape, decode)
        with suppress(OSError), path.open("rb") as file:  # `clean_decoded` may have deleted it meanwhile
            return _map_whole(file)
    except StorageFailed as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL:
            raise _refuse_full(path, shape, error.__cause__) from error
    try:
        with TemporaryFile() as unnamed:
            _write_levels(unnamed, shape, decode)
            return _map_whole(unnamed)
    except OSError as error:
        raise _refuse_full(path, shape, error) from error


def clean_decoded(folder: Path, *, yes: bool = False) -> dict[Path, int]:
    """Lists the files of decoded images in a data folder, and deletes them if ``yes``; returns file -> its bytes.

    Processes that have mapped a file keep its images; later ones decode them again.

    Raises:
        UsageError: a file cannot be deleted; all others are.
    """
    files = [path for path in folder.glob(f"{FOLDER}/*") if _NAME.fullmatch(path.name)]
    files += find_temporaries([folder / FOLDER], lambda name: _NAME.fullmatch(name) is not None)
    sizes: dict[Path, int] = {}
    refused: list[tuple[Path, OSError]] = []
    for path in sorted(files):
        try:
            sizes[path] = path.stat().st_size
            if yes:
                path.unlink()
        except FileNotFoundError:  # another command has deleted it
            continue
        except OSError as error:
            refused.append((path, error))
    if refused:
        path, fault = refused[0]
        problem = f"{len(refused)} of {len(sizes)} files cannot be deleted: {fault.strerror or fault}"
        raise UsageError(Kind.INACCESSIBLE, problem, flag="data_dir", file=path.parent) from fault
    return sizes


def _refuse_full(path: Path, shape: tuple[int, ...], error: OSError) -> UsageError:
    problem = f"cannot hold the decoded images: {error.strerror or error}"
    expected = f"{decimal(math.prod(shape))} or more of free space, or another folder by {{flag:data_dir}}"
    return UsageError(Kind.INACCESSIBLE, problem, flag="dataset", file=path.parent, expected=expected)


def _write_levels(file: IO[bytes], shape: tuple[int, ...], decode: Callable[[np.dtype[Any]], Iterable[Levels]]) -> None:
    """Writes the images as bytes or, if these do not suffice, as floats. A mapped file would not tell of a full disk."""
    for dtype in (np.dtype(np.uint8), np.dtype(np.float32)):
        file.seek(0)
        file.truncate()
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        digest = hashlib.sha256()
        with suppress(DeeperError):
            for image in decode(dtype):
                content = np.ascontiguousarray(image, dtype=dtype).tobytes()
                digest.update(content)
                file.write(content)
            file.write(digest.digest())
            file.flush()
            return


def _map_whole(file: IO[bytes]) -> Levels:
    """Returns the images in a file; raises ValueError or OSError for one that is cut off or changed."""
    file.seek(0)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("another version of the format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    start, left = file.tell(), int(np.prod(shape)) * dtype.itemsize
    digest = hashlib.sha256()
    while left and (block := file.read(min(left, _BLOCK))):
        digest.update(block)
        left -= len(block)
    if left or file.read() != digest.digest():
        raise ValueError("cut off or changed")
    # A private mapping is one that torch may wrap; its pages are still those of the file.
    return np.memmap(file, dtype=dtype, mode="c", offset=start, shape=shape)
