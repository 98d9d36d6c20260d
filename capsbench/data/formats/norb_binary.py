"""The binary matrices of NORB: little-endian words for a magic number and the sizes, then the values.

The format is described at https://cs.nyu.edu/~ylclab/data/norb-v1.0-small: a word for the kind of the values, one for the
number of dimensions, then one for each size, at least three. The last index changes fastest.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from capsbench.data.formats.published import damaged_file, unreadable_file

BYTES, INTEGERS = 0x1E3D4C55, 0x1E3D4C54
"""Magic numbers."""

KINDS = {
    0x1E3D4C51: "single-precision",
    0x1E3D4C52: "packed",
    0x1E3D4C53: "double-precision",
    INTEGERS: "integer",
    BYTES: "byte",
    0x1E3D4C56: "short",
}
TYPES: dict[int, np.dtype[Any]] = {BYTES: np.dtype("u1"), INTEGERS: np.dtype("<i4")}


def read_norb(path: Path, magic: int, sizes: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Reads the matrix of a file, as a read-only array. The array is mapped to the file unless the file is compressed.

    Args:
        path: the file, gzip-compressed if its name ends with ``.gz``.
        magic: the expected content, `BYTES` or `INTEGERS`.
        sizes: the expected shape.

    Raises:
        UsageError: the file cannot be read, holds something else, or is not as long as its header says.
    """
    header = 4 * (2 + max(3, len(sizes)))
    length = header + TYPES[magic].itemsize * math.prod(sizes)
    compressed = path.suffix == ".gz"
    try:
        with gzip.open(path) if compressed else path.open("rb") as file:
            _check_header(file.read(header), path, magic, sizes)
            # Reading one byte past the expected end makes gzip verify its checksum.
            content = file.read(length - header + 1) if compressed else b""
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable_file(path, error) from error
    size = header + len(content) if compressed else path.stat().st_size
    if size != length:
        amount = size if size < length or not compressed else "more"
        raise damaged_file(path, f"its header promises {_join_sizes(sizes)}, so {length} bytes, found {amount}", amount)
    if compressed:
        return np.frombuffer(content, TYPES[magic]).reshape(sizes)
    return np.memmap(path, TYPES[magic], mode="r", offset=header, shape=sizes)


def _check_header(content: bytes, path: Path, magic: int, sizes: tuple[int, ...]) -> None:
    words = np.frombuffer(content[: len(content) // 4 * 4], "<u4").tolist()
    actual, dimensions = [*words, 0, 0][:2]
    if actual == magic and len(words) < 2 + max(3, len(sizes)):
        raise damaged_file(path, f"ends within its header, after {len(content)} bytes", len(content))
    if actual != magic:
        kind = f", that of {KINDS[actual]} values" if actual in KINDS else ""
        raise damaged_file(
            path,
            f"expected a matrix of NORB of {KINDS[magic]} values (magic number {magic:#x}), "
            f"found magic number {actual:#x}{kind}",
            actual,
        )
    stored = tuple(words[2 : 2 + len(sizes)])
    if dimensions != len(sizes):
        raise damaged_file(
            path, f"expected a matrix of {_join_sizes(sizes)}, found {dimensions} dimensions", dimensions
        )
    if stored != sizes:
        raise damaged_file(path, f"expected a matrix of {_join_sizes(sizes)}, found {_join_sizes(stored)}", stored)


def _join_sizes(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))
