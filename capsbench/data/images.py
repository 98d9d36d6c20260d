"""Images as data sets give them and training takes them: their shape, splits, batches and augmentations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from capsbench.data.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class ImageShape(NamedTuple):
    """Channels, height and width."""

    channels: int
    height: int
    width: int


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


class Batch(NamedTuple):
    """What a training step sees.

    - ``images`` ``[B, C, H, W]``
    - ``labels`` ``[B]``, or ``[B, K]`` where an image shows K objects
    - ``targets`` ``[B, K, C, H, W]``, what a decoder is to make of each labelled object, or ``[B, C, H, W]``, what a network
      that is not about classes is to make of the image; None: the image itself
    - ``transforms`` ``[B, ...]``, what was done to the image on the way to its target, where a network is told
    """

    images: Tensor
    labels: Tensor
    targets: Tensor | None = None
    transforms: Tensor | None = None


class Augmentation(ABC):
    """Base class of what happens to training images on their way into a batch."""

    draws: int
    """Random numbers that an image needs."""

    @abstractmethod
    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        """The batch changed, each image by its own numbers alone.

        Args:
            drawn: ``[B, draws]``, uniform in [0, 1).
            train: all images trained on, for those that combine images.
        """
