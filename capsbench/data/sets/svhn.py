"""Street View House Numbers (Netzer et al. 2011), cropped to single digits, in MATLAB files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from capsbench.data.files import DataFile
from capsbench.data.formats.matlab import read_matlab
from capsbench.data.formats.published import PublishedSet, check_labels, damaged_file
from capsbench.data.images import Images, ImageShape
from capsbench.data.lazy import torch

URL = "http://ufldl.stanford.edu/housenumbers/"


class SVHN(PublishedSet):
    """House numbers, 3x32x32: 68,257 digits for training, 5,000 for validation, the published 26,032 for the test.

    The further 531,131 easier digits ("extra") are left out, as in Sabour 2017, section 7. Training images are shifted by up
    to 4 pixels, as in CIFAR-10, but not mirrored, because a mirrored 2 is not a 2.
    """

    image = ImageShape(3, 32, 32)
    classes = 10
    shift = 4
    files = (
        DataFile("train_32x32.mat", f"{URL}train_32x32.mat", 182_040_794, "e26dedcc434d2e4c54c9b2d4a06d8373"),
        DataFile("test_32x32.mat", f"{URL}test_32x32.mat", 64_275_384, "eb5a983be6a315427106f1b164d9cef3"),
    )
    out_of_distribution = ("cifar10",)
    licence = "for non-commercial use only"
    source = "Netzer et al.: Reading digits in natural images with unsupervised feature learning. NIPS workshop, 2011"

    counts = (73_257, 26_032)

    def read_parts(self, paths: Sequence[Path]) -> tuple[Images, Images]:
        return self._read_file(paths[0], self.counts[0]), self._read_file(paths[1], self.counts[1])

    def _read_file(self, path: Path, count: int) -> Images:
        content = read_matlab(path, ["X", "y"])
        pixels, digits = content["X"], content["y"]
        if digits is None or not _is_bytes(digits, 2) or digits.shape[1] != 1:
            raise damaged_file(
                path, f"expected y of uint8 [N, 1], found {_describe_shape(digits)}", _describe_shape(digits)
            )
        expected = (self.image.height, self.image.width, self.image.channels, len(digits))
        if pixels is None or not _is_bytes(pixels, 4) or pixels.shape != expected:
            shape = _describe_shape(pixels)
            raise damaged_file(path, f"expected X of uint8 {list(expected)}, found {shape}", shape)
        # The label of digit 0 is 10, because MATLAB counts from 1.
        labels = torch.from_numpy(digits[:, 0]).long()
        check_labels(labels, path, self.classes, count, first=1)
        return Images(torch.from_numpy(pixels.transpose(3, 2, 0, 1)).contiguous(), labels % 10)


def _is_bytes(array: np.ndarray[Any, Any], dimensions: int) -> bool:
    return array.dtype == np.uint8 and array.ndim == dimensions


def _describe_shape(array: np.ndarray[Any, Any] | None) -> str:
    return "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
