"""The IDX files of MNIST and its successors: big-endian words for a magic number and the sizes, then the bytes."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from capsbench.data.files import DataFile
from capsbench.data.formats.bounded import Bounded
from capsbench.data.formats.published import PublishedSet, check_labels, damaged_file, unreadable_file
from capsbench.data.images import Images, ImageShape
from capsbench.data.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

IMAGES, LABELS = 0x0803, 0x0801
"""Magic numbers: unsigned bytes (08) in three dimensions and in one dimension."""

KINDS = {IMAGES: "images", LABELS: "labels"}

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

CONTENT_BYTES = (47_040_016, 60_008, 7_840_016, 10_008)
"""Decompressed bytes of `FILES`: 60,000 training and 10,000 test images of 28x28 pixels."""


class IDXSet(PublishedSet):
    """MNIST or a set in its format: four files in ``FOLDER/NAME/raw``, compressed (``.gz``) or not, as torchvision has them."""

    image = ImageShape(1, 28, 28)
    classes = 10
    shift = 2

    counts = (60_000, 10_000)

    def read_parts(self, paths: Sequence[Path]) -> tuple[Images, Images]:
        train, test = (
            read_idx_pair(images, labels, self.image, self.classes, count)
            for images, labels, count in zip(paths[::2], paths[1::2], self.counts, strict=True)
        )
        return train, test


def idx_files(name: str, url: str, *known: tuple[int, str], decompressed: Sequence[str] = ()) -> tuple[DataFile, ...]:
    """Declares the files of a set in MNIST's format.

    Args:
        name: the folder.
        url: the address without the name of the file.
        known: bytes and MD5 sum of each of `FILES`, compressed as published.
        decompressed: MD5 sum of the content of each file, if known.
    """
    sums: Sequence[str | None] = decompressed or [None] * len(FILES)
    contents = zip(CONTENT_BYTES, sums, strict=True)
    return tuple(
        DataFile(f"{name}/raw/{file}.gz", f"{url}{file}.gz", size, md5, decompressed=content)
        for file, (size, md5), content in zip(FILES, known, contents, strict=True)
    )


def read_idx_pair(images_path: Path, labels_path: Path, image: ImageShape, classes: int, count: int) -> Images:
    """Reads ``count`` images ``[N, 1, H, W]`` of uint8 and their labels ``[N]`` of int64, from 0 to ``classes - 1``.

    Raises:
        UsageError: a file cannot be read, or holds another number of images, or images of another size.
    """
    most = 1000 + 4 * count * math.prod(image)  # enough to read and report images of another size
    images, labels = read_idx(images_path, IMAGES, most), read_idx(labels_path, LABELS, most)
    if images.shape != (len(labels), *image[1:]):
        size = f"{image.height}x{image.width}"
        shape = " x ".join(map(str, images.shape))
        raise damaged_file(
            images_path,
            f"expected an image of {size} pixels for each of the {len(labels)} labels in {labels_path.name}, found {shape}",
            tuple(images.shape),
        )
    check_labels(labels, labels_path, classes, count)
    return Images(images.unsqueeze(1), labels.long())


def read_idx(path: Path, magic: int, most: int = 2**31) -> Tensor:
    """Reads the uint8 content of an IDX file, ``[N, H, W]`` for `IMAGES` and ``[N]`` for `LABELS`.

    Args:
        path: the file, gzip-compressed if its name ends with ``.gz``.
        magic: the expected content, `IMAGES` or `LABELS`.
        most: bytes to read at most, because an archive may hold any number.

    Raises:
        UsageError: the file cannot be read, is not of this kind, or is not as long as its header says.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = bytearray(Bounded(file, most).read())
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable_file(path, error) from error
    dimensions = magic & 0xFF
    header = 4 * (1 + dimensions)
    actual = int.from_bytes(content[:4], "big")
    if actual != magic:
        kind = f", that of {KINDS[actual]}" if actual in KINDS else ""
        raise damaged_file(
            path,
            f"expected an IDX file of {KINDS[magic]} (magic number {magic}), "
            f"found magic number {actual}{kind}, in {len(content)} bytes",
            actual,
        )
    if len(content) < header:
        raise damaged_file(path, f"expected a header of {header} bytes, found {len(content)}", len(content))
    sizes = struct.unpack_from(f">{dimensions}I", content, 4)
    if len(content) != header + math.prod(sizes):
        shape = " x ".join(map(str, sizes))
        raise damaged_file(
            path,
            f"its header promises {shape} {KINDS[magic]}, so {header + math.prod(sizes)} bytes, found {len(content)}",
            len(content),
        )
    return torch.frombuffer(content, dtype=torch.uint8)[header:].reshape(sizes)
