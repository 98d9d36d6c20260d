"""affNIST (Tieleman 2013): MNIST's test images under published affine transformations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from capsbench.data.draws import SPLIT_SEED, draw_stratified
from capsbench.data.files import DataFile
from capsbench.data.formats.matlab import read_matlab
from capsbench.data.formats.published import check_labels, damaged_file, fetch_files
from capsbench.data.images import Images
from capsbench.data.lazy import torch
from capsbench.data.sets.affine_sets import AffineSet
from capsbench.data.sets.mnist import MNIST
from capsbench.errors import Kind, UsageError

if TYPE_CHECKING:
    from torch import Tensor

TEST = DataFile(
    "affNIST/transformed/test.mat.zip", "https://www.cs.toronto.edu/~tijmen/affNIST/32x/transformed/test.mat.zip"
)
"""Its author published neither size nor MD5 sum. The archive contains checksums, which are verified when it is read."""


class AffNIST(AffineSet):
    """MNIST at random places on 40x40 for training, and 10,000 of affNIST's images for the test (Sabour 2017, section 5.2).

    affNIST has 32 versions of each of MNIST's 10,000 test images. The test set is a stratified draw of these, always the same,
    at 1/32 of the memory and time: an accuracy of 79 % has a standard error of 0.4 points. `AffNISTFull` has all of them. The
    part ``clean`` has MNIST's test images at random places on 40x40.
    """

    base = MNIST
    files = (*MNIST.files, TEST)
    licence = f"none stated; MNIST's: {MNIST.licence}"
    source = "Tieleman: The affNIST dataset for machine learning. https://www.cs.toronto.edu/~tijmen/affNIST, 2013"

    size: ClassVar[int | None] = 10_000
    """Number of test images; None: all."""

    def warp_test(self, test: Images, folder: Path) -> Images:
        (path,) = fetch_files([TEST], folder)
        images, labels = read_affnist(path)
        # The same number of versions per test image: a file of training images, or half a file, has other class proportions.
        class_counts, versions = test.labels.bincount(minlength=MNIST.classes), len(labels) / len(test.labels)
        if not torch.equal(labels.bincount(minlength=MNIST.classes), (class_counts * versions).long()):
            raise damaged_file(
                path,
                f"expected as many versions of each of MNIST's {len(test.labels)} test images, found {len(labels)} "
                "images whose classes have other shares",
                len(labels),
            )
        if self.size is not None:
            chosen = draw_stratified(labels, self.size, SPLIT_SEED)
            images, labels = images[chosen], labels[chosen]
        return Images(images.float().div_(255), labels)


class AffNISTFull(AffNIST):
    """MNIST at random places on 40x40 for training, and all 320,000 images of affNIST for the test: 2 GB of memory a process."""

    size = None


def read_affnist(path: Path) -> tuple[Tensor, Tensor]:
    """Reads images ``[N, 1, 40, 40]``, uint8, and labels ``[N]``, int64, of a file of affNIST's folder ``transformed``.

    Args:
        path: a MATLAB 5 file, or the zip archive that holds one.

    Raises:
        UsageError: the file cannot be read or has other content, such as untransformed digits.
    """
    pixels, digits = read_matlab(path, ["affNISTdata.image", "affNISTdata.label_int"]).values()
    if pixels is None or digits is None:
        raise damaged_file(path, "holds no affNISTdata with image and label_int")
    digits = digits.ravel()
    if pixels.dtype != np.uint8 or pixels.shape != (1600, digits.size) or not digits.size:
        content = f"{pixels.dtype} {list(pixels.shape)} and {digits.size} labels"
        raise damaged_file(path, f"expected images of uint8 [1600, N] and N labels, found {content}", pixels.shape)
    labels = torch.from_numpy(digits.astype(np.int64))
    check_labels(labels, path, MNIST.classes, digits.size)
    images = torch.from_numpy(np.ascontiguousarray(pixels.T)).view(-1, 1, 40, 40)
    if not images[:, :, :6].any():
        problem, expected = "its digits are centred in the image", "expected those of affNIST's transformed/"
        raise UsageError(Kind.DAMAGED, problem, file=path, expected=expected)
    return images, labels
