"""What the harness asks of a data set, and what data sets share: where they lie, fixed splits, few-example draws."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import platformdirs
import torch
from torch import Tensor
from torch.nn import functional as F

from capsbench import registry
from capsbench.data.augment import Augmentation
from capsbench.data.files import DataFile
from capsbench.errors import ArgumentError, Kind, UsageError
from capsbench.shapes import ImageShape

SPLIT_SEED = 0
"""Decides which training images are held out for validation: the same ones in every experiment."""


class Images(NamedTuple):
    """Images ``[N, C, H, W]``, float32, and their labels ``[N]``, int64 from 0.

    Where an image shows K objects of different classes (MultiMNIST), labels are ``[N, K]``.
    """

    images: Tensor
    labels: Tensor

    def to(self, device: str | torch.device, dtype: torch.dtype) -> Images:
        """The same on another device, the pixels in another floating-point type."""
        return Images(self.images.to(device, dtype), self.labels.to(device))


@dataclass(frozen=True)
class Splits:
    """Images to train on, to select by (validation) and to report on (test).

    ``beside`` holds further test images by name, such as those seen from familiar viewpoints beside novel ones.
    ``augmentations`` are what training images go through on their way into a batch, in this order. ``about`` holds what is
    known of the images of a part beside their labels, a number ``[N]`` each by part and name, such as their azimuth.
    """

    train: Images
    validation: Images
    test: Images
    beside: Mapping[str, Images] = field(default_factory=dict)
    augmentations: tuple[Augmentation, ...] = ()
    about: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def named(self) -> dict[str, Images]:
        """All images by the name of their part: train, validation, test, and those beside."""
        return {"train": self.train, "validation": self.validation, "test": self.test, **self.beside}

    def to(self, device: str | torch.device, dtype: torch.dtype) -> Splits:
        """The same on another device, the pixels in another floating-point type."""
        beside = {name: images.to(device, dtype) for name, images in self.beside.items()}
        train, validation, test = (part.to(device, dtype) for part in (self.train, self.validation, self.test))
        return Splits(train, validation, test, beside, self.augmentations, self.about)


class Dataset(ABC):
    """Base class of a data set, a user's own included: it says what its images are and reads them."""

    image: ClassVar[ImageShape]
    """Channels, height and width of an image, as a network sees it. Images to train on may be higher and wider where an
    augmentation crops them."""

    classes: ClassVar[int]
    """Number of classes; labels are 0 to ``classes - 1``."""

    epochs: ClassVar[int] = 10
    """Passes over the training images unless the user or the network's recipe says otherwise."""

    shift: ClassVar[int] = 0
    """Training images are shifted at random by up to this many pixels, by default."""

    labels_an_image: ClassVar[int] = 1
    """Objects that an image shows, each of another class; from 2 on labels are ``[N, labels_an_image]``. Images to train on
    may show one, with labels ``[N]``, where an augmentation overlays them."""

    standardised: ClassVar[bool] = False
    """Whether pixels have a mean of 0 and a variance of 1 an image, rather than lying in [0, 1]."""

    files: ClassVar[tuple[DataFile, ...]] = ()
    """What has to lie in the data folder."""

    licence: ClassVar[str] = ""
    """Under which terms the files are published."""

    source: ClassVar[str] = ""
    """Who is to be cited, and where the data set is described."""

    @abstractmethod
    def load(self, folder: Path) -> Splits:
        """All images of the three splits, the same ones at every call.

        Args:
            folder: the data folder (`data_folder`), which a data set that needs no files ignores.

        Raises:
            UsageError: the images are not to be had, in one line that says what to do.
        """


def data_folder(asked: str | Path | None = None) -> Path:
    """The folder that holds the data sets: ``asked``, else ``$CAPSBENCH_DATA``, else the platform's user cache."""
    return Path(asked or os.environ.get("CAPSBENCH_DATA") or platformdirs.user_cache_dir("capsbench")).expanduser()


def load_splits(name: str, folder: Path, train_size: int | None = None, seed: int = 0) -> Splits:
    """The splits of a data set by its name or import path, training on a draw of ``train_size`` images.

    Raises:
        UsageError: whatever is wrong with the data set, its files or the size asked for, in one line.
    """
    dataset = registry.get("dataset", name)
    try:
        splits: Splits = dataset().load(folder)
        for part, images in splits.named().items():
            _check(images, dataset, part, augmented=part == "train" and bool(splits.augmentations))
    except UsageError:
        raise
    except Exception as error:  # a user's own data set may raise anything
        problem = f"cannot be loaded: {type(error).__name__}: {' '.join(str(error).split())}"
        raise UsageError(Kind.DAMAGED, problem, flag="dataset", value=name) from error
    return replace(splits, train=few(splits.train, train_size, seed, name))


def few(images: Images, size: int | None, seed: int, name: str) -> Images:
    """A stratified draw of ``size`` training images of the data set ``name``; None: all of them.

    With one seed, a smaller draw is a part of a larger one.

    Raises:
        UsageError: fewer than one image a class, or more than there are.
    """
    if size is None:
        return images
    count, classes = len(images.labels), len(images.labels.unique())
    if not classes <= size <= count:
        expected = f"{classes} (an image of each class) to {count} (all training images of {name})"
        raise UsageError(Kind.INVALID, flag="train_size", value=size, expected=expected)
    chosen = stratified(images.labels, size, seed)
    return Images(images.images[chosen], images.labels[chosen])


def hold_out(images: Images, size: int, seed: int = SPLIT_SEED) -> tuple[Images, Images]:
    """(the rest, ``size`` images held out), both stratified and in their original order."""
    held_out = torch.zeros(len(images.labels), dtype=torch.bool)
    held_out[stratified(images.labels, size, seed)] = True
    rest = Images(images.images[~held_out], images.labels[~held_out])
    return rest, Images(images.images[held_out], images.labels[held_out])


def stratified(labels: Tensor, size: int, seed: int) -> Tensor:
    """Indices ``[size]`` of a random draw that holds each class in its proportion, and once at least where it can.

    In a random order of all images, the k-th one of a class that has n comes at k / n; the draw is the first ``size``.
    NumPy's RandomState is used because its stream is frozen for good. (scikit-learn's split promises no class an
    image, refuses draws of nearly all images, and takes longer to import than MNIST takes to load.)
    """
    order = torch.from_numpy(np.random.RandomState(seed).permutation(len(labels)))
    labels = (labels if labels.dim() == 1 else labels[:, 0])[order]
    rank = F.one_hot(labels).cumsum(0).gather(1, labels[:, None]).squeeze(1) - 1
    place = rank / labels.bincount()[labels]
    return order[place.argsort(stable=True)[:size]]


def _check(images: Images, dataset: type[Dataset], part: str, augmented: bool) -> None:
    """Raises ArgumentError unless the images are what the data set declares, or can be made it by an augmentation."""
    shape, labels = images.images.shape, images.labels
    count, shown = len(labels), dataset.labels_an_image
    # What is overlaid on its way into a batch shows a single object before, and what is cropped is larger.
    wanted = [count] if shown == 1 or (augmented and labels.dim() == 1) else [count, shown]
    least = dataset.image[1:]
    fits = (
        len(shape) == 4
        and shape[1] == dataset.image.channels
        and (shape[2:] == least or (augmented and shape[2] >= least[0] and shape[3] >= least[1]))
    )
    if count == 0 or not fits or shape[0] != count or list(labels.shape) != wanted:
        expected = "labels [N]" if shown == 1 else f"labels [N, {shown}]"
        shapes = list(shape), list(labels.shape)
        raise ArgumentError(part, f"images [N, {dataset.image}] and {expected}", shapes)
    if images.images.dtype != torch.float32 or labels.dtype != torch.int64:
        dtypes = images.images.dtype, labels.dtype
        raise ArgumentError(part, "images of torch.float32 and labels of torch.int64", dtypes)
    low, high = images.images.aminmax()
    if not (low.isfinite() and high.isfinite() if dataset.standardised else low >= 0 and high <= 1):
        expected = "finite pixels" if dataset.standardised else "pixels from 0 to 1"
        raise ArgumentError(part, expected, f"{low:g} to {high:g}")
    first, last = labels.aminmax()
    if not (first >= 0 and last < dataset.classes):
        raise ArgumentError(part, f"labels from 0 to {dataset.classes - 1}", f"{first} to {last}")
    if labels.dim() > 1 and (twice := (labels.sort(dim=1).values.diff(dim=1) == 0).any(dim=1)).any():
        raise ArgumentError(part, f"{shown} different classes an image", labels[twice][0].tolist())
