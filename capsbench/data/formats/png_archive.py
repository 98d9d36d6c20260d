"""PNG images in a zip or tar archive, or in its unpacked folder."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from capsbench.data.formats.bounded import Bounded
from capsbench.data.formats.published import damaged_file, unreadable_file

LARGEST = 2**28
"""Limit of the decompressed bytes of an archive. The largest published one has 30 million."""


def read_grey_pngs(path: Path, side: int, left_out: Collection[str] = ()) -> dict[str, np.ndarray[Any, Any]]:
    """Reads the PNG images of an archive or folder as grey levels.

    Args:
        path: a zip archive, a tar archive (gzip-compressed if its name ends with ``.gz``), or a folder.
        side: the expected height and width in pixels.
        left_out: names of files that are not read.

    Returns:
        Path inside the archive or folder, with forward slashes -> image ``[side, side]`` of uint8, sorted by the path.

    Raises:
        UsageError: the archive cannot be read, or a file in it is no image of this size.
    """
    images = {}
    for name, content in sorted(read_members(path, ".png")):
        if PurePosixPath(name).name not in left_out:
            images[name] = _decode_grey(path, name, content, side)
    return images


def read_members(path: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Yields (path inside, content) of the files of an archive or folder whose names end with ``suffix``."""
    try:
        if path.is_dir():
            for file in path.rglob(f"*{suffix}"):
                yield file.relative_to(path).as_posix(), file.read_bytes()
        elif path.suffix == ".zip":
            yield from _read_zip(path, suffix)
        else:
            yield from _read_tar(path, suffix)
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, zlib.error, NotImplementedError) as error:
        raise unreadable_file(path, error) from error


def _read_tar(path: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as content:
        bounded = Bounded(content, LARGEST)
        # Reading from a stream writes nothing to the disk, whatever names the archive has.
        with tarfile.open(fileobj=bounded, mode="r|") as archive:  # type: ignore[call-overload]
            for member in archive:
                if member.name.endswith(suffix) and (file := archive.extractfile(member)):
                    yield member.name, file.read()


def _read_zip(path: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(suffix)]
        if sum(member.file_size for member in members) > LARGEST:
            raise OSError(f"more than {LARGEST} bytes are in it")
        for member in members:
            yield member.filename, archive.read(member)  # never more than the declared size


def _decode_grey(path: Path, name: str, content: bytes, side: int) -> np.ndarray[Any, Any]:
    from PIL import Image  # the list of all data sets does without it

    try:
        with Image.open(BytesIO(content), formats=["PNG"]) as image:
            size = image.size
            # The size comes from the header, before any pixel is decoded.
            pixels = np.asarray(image.convert("L")) if size == (side, side) else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise damaged_file(path, f"{name} in it cannot be read: {error}", name) from error
    if pixels is None:
        width, height = size
        raise damaged_file(path, f"expected images of {side}x{side} pixels, found {height}x{width} in {name}", name)
    return pixels
