"""The IDX files of MNIST and its successors: big-endian words for a magic number and the sizes, then the bytes."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from capsbench.errors import UsageError

IMAGES, LABELS = 0x0803, 0x0801
"""Magic numbers: unsigned bytes (08) in three dimensions and in one."""

KINDS = {IMAGES: "images", LABELS: "labels"}
REMEDY = "delete it to have it downloaded again, or put a whole one there"


def read_idx(path: Path, magic: int) -> Tensor:
    """The uint8 content of an IDX file, ``[N, H, W]`` for `IMAGES` and ``[N]`` for `LABELS`.

    Args:
        path: the file, gzip-compressed if its name ends with ``.gz``; it is only read.
        magic: what the file has to hold.

    Raises:
        UsageError: the file cannot be read, is not of this kind, or is not as long as its header says.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = bytearray(file.read())
    except (OSError, EOFError, zlib.error) as error:
        size = path.stat().st_size
        raise UsageError(f"{path} ({size} bytes) cannot be read: {error}; {REMEDY}") from error
    dimensions = magic & 0xFF
    header = 4 * (1 + dimensions)
    found = int.from_bytes(content[:4], "big")
    if found != magic or len(content) < header:
        kind = f", that of {KINDS[found]}" if found in KINDS and found != magic else ""
        raise UsageError(
            f"{path}: expected an IDX file of {KINDS[magic]} (magic number {magic}), "
            f"found magic number {found}{kind}, in {len(content)} bytes; {REMEDY}"
        )
    sizes = struct.unpack_from(f">{dimensions}I", content, 4)
    if len(content) != header + math.prod(sizes):
        of = " x ".join(map(str, sizes))
        raise UsageError(
            f"{path}: its header promises {of} {KINDS[magic]}, so {header + math.prod(sizes)} bytes, "
            f"found {len(content)}; {REMEDY}"
        )
    return torch.frombuffer(content, dtype=torch.uint8)[header:].reshape(sizes)
