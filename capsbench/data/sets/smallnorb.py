"""smallNORB (LeCun, Huang, Bottou 2004): toys from all sides, and the novel viewpoints of Hinton 2018."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from capsbench.data.augment import Crop, Jitter
from capsbench.data.base import Dataset
from capsbench.data.draws import SPLIT_SEED, draw_stratified
from capsbench.data.files import DataFile
from capsbench.data.formats.norb_binary import BYTES, INTEGERS, read_norb
from capsbench.data.formats.published import check_labels, crop_centre, damaged_file, fetch_files
from capsbench.data.images import Images, ImageShape, Splits
from capsbench.data.lazy import torch
from capsbench.data.prepare import GREY_LEVELS, resize_images, standardise_images

if TYPE_CHECKING:
    from torch import Tensor

URL = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/"
TRAINING, TESTING = "5x46789x9x18x6x2x96x96-training", "5x01235x9x18x6x2x96x96-testing"
TRAINING_TOYS, TEST_TOYS = (4, 6, 7, 8, 9), (0, 1, 2, 3, 5)

COLUMNS: dict[str, tuple[int, ...]] = {
    "toy": tuple(range(10)),
    "elevation": tuple(range(9)),
    "azimuth": tuple(range(0, 36, 2)),
    "lighting": tuple(range(6)),
}
"""Column of an info file -> its values. Elevations are 30 to 70 degrees in steps of 5; azimuths are in tens of degrees."""

SIDE = 48
"""Pixels along a side of an image at half its published size."""

CHUNK = 500
"""Image pairs per batch of scaling."""


CONTENT_BYTES = {"dat": 24 + 24_300 * 2 * 96 * 96, "cat": 20 + 24_300 * 4, "info": 20 + 24_300 * 4 * 4}
"""Bytes of a decompressed file, by kind: its header and its values. No MD5 sum is known."""

COPY_INFO = {TRAINING: "c2096e8b447703b0a5d6309e5e0f5c90", TESTING: "a8e407145595850a4f75d516cfc879cb"}
"""MD5 sums of the decompressed info files of `capsbench.data.sets.smallnorb_jpeg`, which have the names of the published ones."""


def _declare_file(part: str, kind: str, size: int, md5: str) -> DataFile:
    name = f"smallnorb-{part}-{kind}.mat.gz"
    impostors = ((COPY_INFO[part], "that of the JPEG copy, the data set smallnorb-jpeg"),) if kind == "info" else ()
    path = f"smallNORB/{name}"
    return DataFile(path, URL + name, size, md5, decompressed=(CONTENT_BYTES[kind], None), impostors=impostors)


class Part(NamedTuple):
    """The training set or the test set as published.

    - ``pairs`` ``[N, 2, 96, 96]``, uint8: the images of the left and the right camera
    - ``labels`` ``[N]``, int64
    - ``views`` ``[N, 4]``: toy, elevation, azimuth and lighting (`COLUMNS`)
    """

    pairs: np.ndarray[Any, Any]
    labels: Tensor
    views: np.ndarray[Any, Any]


class SmallNORB(Dataset):
    """Toys of 5 classes as stereo pairs, 2x32x32: 21,870 for training, 2,430 for validation, the published 24,300 for the test.

    Animals, humans, planes, trucks and cars, with five toys of each in the training set and five others in the test set, each
    at 9 elevations, 18 azimuths and 6 lightings. Published results train on all five, so validation images are a stratified
    tenth of the training set. They show the toys of training, and their accuracy is far above that of the test. Settings are
    better chosen on ``smallnorb-new-toys``.

    Images are prepared as in Hinton 2018, section 5: halved to 48x48 (each pixel is the mean of four; the authors' code takes
    every other pixel), standardised to mean 0 and variance 1 per image, both cameras together, then cut to windows of 32x32,
    random in training and central otherwise. Training changes contrast by a factor of 0.5 to 1.5 and brightness by up to 2
    standard deviations, as in Gritzman 2019; Hinton 2018 does not give the amounts. (The authors' code changes both before it
    standardises, which cancels all but the difference between the cameras.)
    """

    image = ImageShape(2, 32, 32)
    classes = 5
    class_names = ("animal", "human", "plane", "truck", "car")
    standardised = True
    files = (
        _declare_file(TRAINING, "dat", 131_896_188, "66054832f9accfe74a0f4c36a75bc0a2"),
        _declare_file(TRAINING, "cat", 348, "23c8b86101fbf0904a000b43d3ed2fd9"),
        _declare_file(TRAINING, "info", 71_052, "51dee1210a742582ff607dfd94e332e3"),
        _declare_file(TESTING, "dat", 130_799_817, "e4ad715691ed5a3a5f138751a4ceb071"),
        _declare_file(TESTING, "cat", 347, "5aa791cd7e6016cf957ce9bdb93b8603"),
        _declare_file(TESTING, "info", 10_428, "a9454f3864d7fd4bb3ea7fc3eb84924e"),
    )
    licence = "for research; it cannot be sold"
    source = "LeCun, Huang, Bottou: Generic object recognition with invariance to pose and lighting. CVPR 2004"

    count: ClassVar[int] = 24_300
    """Number of images of the training set, and of the test set."""

    familiar: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    """Column of an info file -> the values in training. Training has all values of other columns."""

    held_out: ClassVar[Fraction] = Fraction(1, 10)
    """The share of the training images, from familiar viewpoints, that validation holds out."""

    @property
    def image_counts(self) -> Mapping[str, int]:  # type: ignore[override]
        """Number of images of each part."""
        shares = (Fraction(len(values), len(COLUMNS[column])) for column, values in self.familiar.items())
        seen = int(self.count * prod(shares, start=Fraction(1)))
        counts = {"train": seen - int(seen * self.held_out), "validation": int(seen * self.held_out)}
        novel = self.count - seen
        return counts | ({"test": novel, "familiar": seen} if novel else {"test": seen})

    def load(self, folder: Path) -> Splits:
        paths = fetch_files(self.files, folder)
        part = self._read_part(paths[:3], TRAINING_TOYS)
        seen = self._mask_familiar(part)
        held_out = self.choose_held_out(part, seen)
        train = self._prepare_images(part, seen & ~held_out, SIDE)
        validation = self._prepare_images(part, seen & held_out)
        part = self._read_part(paths[3:], TEST_TOYS)
        seen = self._mask_familiar(part)
        masks = {"test": seen} if seen.all() else {"test": ~seen, "familiar": seen}
        beside = {name: self._prepare_images(part, mask) for name, mask in masks.items()}
        height, width = self.image[1:]
        return Splits(
            train,
            validation,
            beside.pop("test"),
            beside,
            (Crop(height, width), Jitter(brightness=2.0, contrast=0.5)),
            {name: to_viewpoints(part.views[mask.numpy()]) for name, mask in masks.items()},
        )

    def prepare_images(self, images: Tensor) -> Tensor:
        """Prepares photographs of a whole toy as the data set does: 48x48, standardised, cut to the central 32x32."""
        return crop_centre(standardise_images(GREY_LEVELS * resize_images(images, SIDE, SIDE)), *self.image[1:])

    def choose_held_out(self, part: Part, seen: Tensor) -> Tensor:
        """Chooses validation images, as a mask ``[N]`` of the training set, from those that are ``seen`` ``[N]``."""
        candidates = seen.nonzero().squeeze(1)
        chosen = candidates[draw_stratified(part.labels[candidates], int(len(candidates) * self.held_out), SPLIT_SEED)]
        return torch.zeros_like(seen).index_fill(0, chosen, True)

    def _mask_familiar(self, part: Part) -> Tensor:
        """Returns a mask ``[N]`` of the images with viewpoints of training."""
        seen = np.ones(len(part.views), dtype=bool)
        for column, values in self.familiar.items():
            seen &= np.isin(part.views[:, list(COLUMNS).index(column)], values)
        return torch.from_numpy(seen)

    def _prepare_images(self, part: Part, mask: Tensor, side: int | None = None) -> Images:
        """Halves and standardises the images of a mask, and returns their central windows of ``side`` x ``side`` pixels."""
        height, width = (side, side) if side else self.image[1:]
        indices = mask.nonzero().squeeze(1)
        images = torch.empty(len(indices), self.image.channels, height, width)
        for out, chunk in zip(images.split(CHUNK), indices.split(CHUNK), strict=True):
            pairs = torch.from_numpy(part.pairs[chunk.numpy(), : self.image.channels])
            out.copy_(crop_centre(standardise_images(halve_images(pairs)), height, width))
        return Images(images, part.labels[indices])

    def _read_part(self, paths: list[Path], toys: tuple[int, ...]) -> Part:
        pairs = read_norb(paths[0], BYTES, (self.count, 2, 2 * SIDE, 2 * SIDE))
        labels = torch.from_numpy(read_norb(paths[1], INTEGERS, (self.count,)).astype(np.int64))
        check_labels(labels, paths[1], self.classes, self.count)
        views = read_norb(paths[2], INTEGERS, (self.count, len(COLUMNS)))
        for (column, values), numbers in zip((COLUMNS | {"toy": toys}).items(), views.T, strict=True):
            wrong = numbers[~np.isin(numbers, values)]
            if len(wrong):
                expected = ", ".join(map(str, values))
                raise damaged_file(paths[2], f"expected {column} of {expected}, found {wrong[0]}", int(wrong[0]))
        if len(np.unique(np.column_stack([labels.numpy(), views]), axis=0)) != self.count:
            raise damaged_file(paths[2], f"some views occur twice, so it does not belong to {paths[1].name}")
        return Part(pairs, labels, views)


class SmallNORBMono(SmallNORB):
    """smallNORB from the left camera only, 1x32x32."""

    image = ImageShape(1, 32, 32)


class SmallNORBNewToys(SmallNORB):
    """smallNORB with one toy of each class held out: 19,440 for training, 4,860 for validation, 24,300 for the test.

    Validation then asks the question of the test, the accuracy on unseen toys, at the cost of a fifth of the training set. It is
    for the choice of settings; published results train on all five toys.
    """

    held_out = Fraction(1, len(TRAINING_TOYS))

    def choose_held_out(self, part: Part, seen: Tensor) -> Tensor:
        return torch.from_numpy(part.views[:, 0] == TRAINING_TOYS[-1])


class SmallNORBAzimuth(SmallNORB):
    """smallNORB from novel azimuths: trained on 300 to 40 degrees (7,290, and 810 for validation), tested on 60 to 280 (16,200).

    This is the protocol of Hinton 2018, section 5.1. ``familiar`` is the third of the test set with the azimuths of training, on
    which contenders are matched.
    """

    familiar = MappingProxyType({"azimuth": (30, 32, 34, 0, 2, 4)})


class SmallNORBElevation(SmallNORB):
    """smallNORB from novel elevations: trained on 30 to 40 degrees (7,290, and 810 for validation), tested on 45 to 70 (16,200).

    This is the protocol of Hinton 2018, section 5.1. ``familiar`` is the third of the test set with the elevations of training,
    on which contenders are matched.
    """

    familiar = MappingProxyType({"elevation": (0, 1, 2)})


def to_viewpoints(views: np.ndarray[Any, Any]) -> dict[str, Tensor]:
    """Converts rows ``[N, 4]`` of an info file to elevation and azimuth ``[N]`` in degrees."""
    elevation, azimuth = (torch.from_numpy(views[:, column].astype(np.float64)) for column in (1, 2))
    return {"elevation": 30 + 5 * elevation, "azimuth": 10 * azimuth}


def halve_images(images: Tensor) -> Tensor:
    """Halves height and width of images ``[N, C, H, W]`` of uint8, to float32: each pixel is the mean of four."""
    rows = images[:, :, ::2].short() + images[:, :, 1::2]
    return (rows[..., ::2] + rows[..., 1::2]).float() / 4
