"""USPS (Hull 1994; LeCun et al. 1990): handwritten digits from envelopes, smaller and older than MNIST's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from capsbench.data.files import DataFile
from capsbench.data.formats.npz_arrays import read_npz
from capsbench.data.formats.published import PublishedSet, check_labels, damaged_file, unreadable_file
from capsbench.data.images import Images, ImageShape
from capsbench.data.lazy import torch
from capsbench.data.sets.mnist import MNIST
from capsbench.data.sets.shifted_set import ShiftedSet

URL = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/"

LEVELS = 2000
"""The value of a white pixel in the ``.npz`` file. The published values lie in [-1, 1] and have three decimals."""

ARRAYS = DataFile("usps.npz", None, 1_664_471, "de0026c724f7311ebbabe9a479bf5133")
"""Both parts in one file: ``x_train``, ``y_train``, ``x_test`` and ``y_test``."""


class USPS(PublishedSet):
    """Handwritten digits of 16x16 pixels: 6,291 for training, 1,000 for validation, the published 2,007 for the test.

    The test set is known to be harder than the training set: people misread about 2.5 % of it. Training images are shifted by up
    to 1 pixel, as in digits of about this size.
    """

    image = ImageShape(1, 16, 16)
    classes = 10
    shift = 1
    epochs = 20
    validation = 1000
    white = LEVELS
    files = (
        DataFile("usps.bz2", f"{URL}usps.bz2", md5="ec16c51db3855ca6c91edd34d0e9b197", most=2**25, instead=ARRAYS),
        DataFile("usps.t.bz2", f"{URL}usps.t.bz2", md5="8ea070ee2aca1ac39742fdd1ef5ed118", most=2**25, instead=ARRAYS),
    )
    out_of_distribution = ("fashion-mnist", "kmnist", "notmnist", "notmnist-10k", "omniglot")
    licence = "none stated; for research"
    source = "Hull: A database for handwritten text recognition research. IEEE TPAMI, 1994"

    counts = (7_291, 2_007)
    names: ClassVar[tuple[str, str]] = ("train", "test")

    def read_parts(self, paths: Sequence[Path]) -> tuple[Images, Images]:
        train, test = (
            self._read_part(path, name, count) for path, name, count in zip(paths, self.names, self.counts, strict=True)
        )
        return train, test

    def _read_part(self, path: Path, name: str, count: int) -> Images:
        height, width = self.image[1:]
        if path.suffix == ".npz":
            expected = {f"x_{name}": ("int16", (count, height, width)), f"y_{name}": ("uint8", (count,))}
            pixels, digits = read_npz(path, expected).values()
        else:
            pixels, digits = _read_libsvm(path, height * width)
        labels = torch.from_numpy(digits).long()
        check_labels(labels, path, self.classes, count)
        if pixels.min() < 0 or pixels.max() > self.white:
            found = f"{pixels.min():g} to {pixels.max():g}"
            raise damaged_file(path, f"expected pixels from 0 to {self.white}, found {found}", found)
        return Images(torch.from_numpy(pixels).float().view(-1, *self.image), labels)


class MNISTToUSPS(ShiftedSet):
    """Trained on MNIST, 1x28x28, tested on the 2,007 published test images of USPS; ``clean`` is MNIST's own test set.

    USPS's 16x16 pixels, which a digit fills, are resized to 20x20 (bilinear) and padded to 28x28 with 4 pixels of 0 on each
    side, because a digit of MNIST fills a box of 20x20 in 28x28.
    """

    base = MNIST
    shifted = USPS
    margin = 4


def _read_libsvm(path: Path, features: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Reads pixels ``[N, features]`` from 0 to `LEVELS` and digits ``[N]`` from a file in LIBSVM's format."""
    from sklearn.datasets import load_svmlight_file  # imports SciPy, which takes a second

    try:
        values, labels = load_svmlight_file(path, n_features=features, zero_based=False)
    except (OSError, EOFError, ValueError) as error:
        raise unreadable_file(path, error) from error
    return (values.toarray() + 1) * (LEVELS / 2), labels - 1  # label 1 is the digit 0
