"""Street View House Numbers (Netzer et al. 2011), cropped to single digits, in MATLAB's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from capsbench.data.files import DataFile
from capsbench.data.formats.matlab import read_matlab
from capsbench.data.formats.published import PublishedSet, check_labels, damaged_file
from capsbench.data.images import Images, ImageShape
from capsbench.data.lazy import torch

URL = "http://ufldl.stanford.edu/housenumbers/"


class SVHN(PublishedSet):
    """House numbers, 3x32x32: 68,257 digits to train on, 5,000 for validation, the published 26,032 to test.

    The further 531,131 easier digits ("extra") are left out, as in Sabour 2017, section 7. Training images are shifted by up
    to 4 pixels, as those of CIFAR-10, and never mirrored: a mirrored 2 is no 2.
    """

    image = ImageShape(3, 32, 32)
    classes = 10
    shift = 4
    files = (
        DataFile("train_32x32.mat", f"{URL}train_32x32.mat", 182_040_794, "e26dedcc434d2e4c54c9b2d4a06d8373"),
        DataFile("test_32x32.mat", f"{URL}test_32x32.mat", 64_275_384, "eb5a983be6a315427106f1b164d9cef3"),
    )
    licence = "for non-commercial use only"
    source = "Netzer et al.: Reading digits in natural images with unsupervised feature learning. NIPS workshop, 2011"

    counts: ClassVar[tuple[int, int]] = (73_257, 26_032)
    """Images to train on and to test on, as published."""

    def read(self, paths: Sequence[Path]) -> tuple[Images, Images]:
        return self._read(paths[0], self.counts[0]), self._read(paths[1], self.counts[1])

    def _read(self, path: Path, count: int) -> Images:
        content = read_matlab(path, ["X", "y"])
        pixels, digits = content["X"], content["y"]
        if digits is None or not _bytes_of(digits, 2) or digits.shape[1] != 1:
            raise damaged_file(path, f"expected y of uint8 [N, 1], found {_shape_of(digits)}", _shape_of(digits))
        expected = (self.image.height, self.image.width, self.image.channels, len(digits))
        if pixels is None or not _bytes_of(pixels, 4) or pixels.shape != expected:
            found = _shape_of(pixels)
            raise damaged_file(path, f"expected X of uint8 {list(expected)}, found {found}", found)
        # Digits 1 to 9 are their own labels and 0 has 10: MATLAB counts from 1.
        labels = torch.from_numpy(digits[:, 0]).long()
        check_labels(labels, path, self.classes, count, first=1)
        return Images(torch.from_numpy(pixels.transpose(3, 2, 0, 1)).contiguous(), labels % 10)


def _bytes_of(found: np.ndarray[Any, Any], dimensions: int) -> bool:
    return found.dtype == np.uint8 and found.ndim == dimensions


def _shape_of(found: np.ndarray[Any, Any] | None) -> str:
    return "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
