"""What happens to training images on their way into a batch: shifts, crops, jitter and affine warps, all of a batch at once.

An augmentation is a function of the images and of numbers drawn for them. Those of an epoch are drawn for all images at once,
so that an image gets the same ones whatever the batch it comes in, and whatever the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from capsbench.data.images import Augmentation, Batch, Images
from capsbench.data.lazy import functional as F
from capsbench.data.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class Augmented:
    """Batches of an epoch's augmented images.

    Args:
        train: all images to train on.
        augmentations: what they go through, in this order.
        generator: draws the epoch's numbers when this is made.
    """

    def __init__(self, train: Images, augmentations: Sequence[Augmentation], generator: torch.Generator) -> None:
        self.train = train
        self.augmentations = augmentations
        self.drawn = [
            torch.rand(len(train.labels), each.draws, generator=generator).to(train.images) for each in augmentations
        ]

    def batch(self, which: Tensor) -> Batch:
        """The images of these indices ``[B]``."""
        batch = Batch(self.train.images[which], self.train.labels[which])
        for augmentation, drawn in zip(self.augmentations, self.drawn, strict=True):
            batch = augmentation(batch, drawn[which], self.train)
        return batch


class Shift(Augmentation):
    """Moves each image, and its targets, by -most..most whole pixels along both axes; what comes in is 0 (Sabour 2017)."""

    draws = 2

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        return with_targets(batch, lambda images: shifted(images, self.most, drawn))


class Crop(Augmentation):
    """Cuts a window of ``height`` x ``width`` pixels out of each image, and of its targets (Hinton 2018, section 5)."""

    draws = 2

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        room = (batch.images.shape[2] - self.height, batch.images.shape[3] - self.width)
        start = whole_numbers(drawn, [room[0] + 1, room[1] + 1])
        return with_targets(batch, lambda images: windows(images, start, self.height, self.width))


class Jitter(Augmentation):
    """Changes brightness and contrast of each image, and of its targets: ``image * c + b`` (Hinton 2018, section 5).

    Args:
        brightness: b is uniform in -brightness..brightness, in the units of the pixels.
        contrast: c is uniform in 1 - contrast..1 + contrast.
    """

    draws = 2

    def __init__(self, brightness: float, contrast: float) -> None:
        self.brightness, self.contrast = brightness, contrast

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        brightness, contrast = ((2 * drawn - 1) * drawn.new_tensor([self.brightness, self.contrast])).unbind(1)
        factor, summand = (1 + contrast)[:, None, None, None], brightness[:, None, None, None]
        return with_targets(batch, lambda images: images * factor + summand)


class Flip(Augmentation):
    """Mirrors every other image, on average, left to right, and its targets with it."""

    draws = 1

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        mirrored = (drawn < 0.5)[:, :, None, None]
        return with_targets(batch, lambda images: torch.where(mirrored, images.flip(3), images))


def with_targets(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with ``change``, a function of ``[B, C, H, W]``, made to its images and to whatever they have as targets."""
    targets = batch.targets
    if targets is not None:
        changed = change(targets.flatten(1, -3))
        targets = changed.view(*targets.shape[:-2], *changed.shape[2:])
    return batch._replace(images=change(batch.images), targets=targets)


def whole_numbers(drawn: Tensor, below: Sequence[int]) -> Tensor:
    """Uniform numbers in [0, 1) ``[B, k]`` to whole ones from 0, each column to below its own bound."""
    bounds = torch.tensor(below, device=drawn.device)
    # In half precision a product can round up to the bound itself.
    return torch.minimum((drawn * bounds).long(), bounds - 1)


def shifted(images: Tensor, most: int, drawn: Tensor) -> Tensor:
    """Images ``[B, C, H, W]`` moved by -most..most pixels along both axes; what comes in is 0.

    Args:
        drawn: ``[B, 2]`` in [0, 1), for rows and columns.
    """
    padded = F.pad(images, (most, most, most, most))
    return windows(padded, whole_numbers(drawn, [2 * most + 1] * 2), images.shape[2], images.shape[3])


def windows(images: Tensor, start: Tensor, height: int, width: int) -> Tensor:
    """The window ``[B, C, height, width]`` of each image from its own corner ``[B, 2]`` (row, column)."""
    rows = start[:, :1] + torch.arange(height, device=images.device)
    columns = start[:, 1:] + torch.arange(width, device=images.device)
    which = torch.arange(len(images), device=images.device)
    # Indexed with channels last, so that the three indices stand together and the channels come along whole.
    cut = images.movedim(1, -1)[which[:, None, None], rows[:, :, None], columns[:, None, :]]
    return cut.movedim(-1, 1).contiguous()
