"""Types of images between data sets and training: shapes, splits, batches and augmentations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from capsbench.data.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


BLOCK = 2**22
"""The most numbers of a block that `split_rows` yields, unless a single row has more."""


ANY_NUMBER = 0
"""In the place of the number of objects in an image: images show any number of classes, none too, each independently."""


class ImageShape(NamedTuple):
    """Channels, height and width."""

    channels: int
    height: int
    width: int


class Images(NamedTuple):
    """Images ``[N, C, H, W]``, float32, and their labels ``[N]``, int64 from 0.

    If an image shows K objects of different classes (MultiMNIST), labels are ``[N, K]``. If images show any number of classes,
    labels are ``[N, classes]``, bool: true for each class that the image shows.
    """

    images: Tensor
    labels: Tensor

    def to(self, device: str | torch.device, dtype: torch.dtype) -> Images:
        """Returns the images on another device, with pixels of another floating-point type."""
        return Images(self.images.to(device, dtype), self.labels.to(device))


@dataclass(frozen=True)
class Splits:
    """Images for training, for model selection (validation) and for results (test).

    ``beside`` holds further test images by name, such as images from familiar viewpoints. ``augmentations`` are applied to
    training images, in this order, when a batch is built. ``about`` holds further facts of images, such as their azimuth: part
    -> name -> numbers ``[N]``.
    """

    train: Images
    validation: Images
    test: Images
    beside: Mapping[str, Images] = field(default_factory=dict)
    augmentations: tuple[Augmentation, ...] = ()
    about: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def by_name(self) -> dict[str, Images]:
        """Returns all images by the name of their part: train, validation, test, and those of ``beside``."""
        return {"train": self.train, "validation": self.validation, "test": self.test, **self.beside}

    def to(self, device: str | torch.device, dtype: torch.dtype) -> Splits:
        """Returns the splits on another device, with pixels of another floating-point type."""
        beside = {name: images.to(device, dtype) for name, images in self.beside.items()}
        train, validation, test = (part.to(device, dtype) for part in (self.train, self.validation, self.test))
        return Splits(train, validation, test, beside, self.augmentations, self.about)


def split_rows(tensor: Tensor, numbers: int = 0, rows: int = 0) -> Iterator[Tensor]:
    """Yields a tensor ``[N, ...]`` in blocks of rows. Of images that lie in a file, it reads one block at a time.

    Args:
        numbers: the numbers that a row stands for; 0: those that it has.
        rows: the rows of a block; 0: as many as make `BLOCK` numbers.
    """
    rows = rows or max(1, BLOCK // max(1, numbers or tensor[:1].numel()))
    for start in range(0, max(1, len(tensor)), rows):
        yield tensor[start : start + rows]


class Batch(NamedTuple):
    """The input of a training step.

    - ``images`` ``[B, C, H, W]``
    - ``labels`` ``[B]``, ``[B, K]`` if an image shows K objects, or ``[B, classes]``, bool, if it shows any number of classes
    - ``targets`` ``[B, K, C, H, W]``, the reconstruction target of each labelled object, or ``[B, C, H, W]``, the target of a
      self-supervised network; None: the image itself
    - ``transforms`` ``[B, ...]``, the transformation from image to target, for networks that get it as an input
    """

    images: Tensor
    labels: Tensor
    targets: Tensor | None = None
    transforms: Tensor | None = None


class Augmentation(ABC):
    """Base class of a random change of training images, applied when a batch is built."""

    draws: int
    """Number of random numbers per image."""

    @abstractmethod
    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        """Returns the changed batch. The change of an image depends on its own numbers alone.

        Args:
            drawn: ``[B, draws]``, uniform in [0, 1).
            train: all training images, for augmentations that combine images.
        """
