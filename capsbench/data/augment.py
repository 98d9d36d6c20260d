"""Augmentations of training images: shifts, crops, jitter and flips, each of a whole batch at once.

An augmentation is a function of the images and of random numbers. The numbers of an epoch are drawn for all images at once. So
an image gets the same numbers in every batch and on every device.
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
        augmentations: applied in this order.
        generator: the source of the epoch's numbers, drawn at construction.
    """

    def __init__(self, train: Images, augmentations: Sequence[Augmentation], generator: torch.Generator) -> None:
        self.train = train
        self.augmentations = augmentations
        self.drawn = [
            torch.rand(len(train.labels), augmentation.draws, generator=generator).to(
                train.images.device, train.images.dtype
            )
            for augmentation in augmentations
        ]

    def build_batch(self, which: Tensor) -> Batch:
        """Returns the augmented images of these indices ``[B]``."""
        batch = Batch(self.train.images[which], self.train.labels[which])
        for augmentation, drawn in zip(self.augmentations, self.drawn, strict=True):
            batch = augmentation(batch, drawn[which], self.train)
        return batch


class Shift(Augmentation):
    """Shifts each image and its targets by -most..most whole pixels along both axes, filled with 0 (Sabour 2017)."""

    draws = 2

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        return apply_with_targets(batch, lambda images: shift_images(images, self.most, drawn))


class Crop(Augmentation):
    """Cuts a random window of ``height`` x ``width`` pixels out of each image and its targets (Hinton 2018, section 5)."""

    draws = 2

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        room = (batch.images.shape[2] - self.height, batch.images.shape[3] - self.width)
        start = to_whole_numbers(drawn, [room[0] + 1, room[1] + 1])
        return apply_with_targets(batch, lambda images: cut_windows(images, start, self.height, self.width))


class Jitter(Augmentation):
    """Changes the brightness and contrast of each image and its targets: ``image * c + b`` (Hinton 2018, section 5).

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
        return apply_with_targets(batch, lambda images: images * factor + summand)


class Flip(Augmentation):
    """Mirrors each image and its targets from left to right with probability 1/2."""

    draws = 1

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        mirrored = (drawn < 0.5)[:, :, None, None]
        return apply_with_targets(batch, lambda images: torch.where(mirrored, images.flip(3), images))


def apply_with_targets(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """Applies ``change``, a function of ``[B, C, H, W]``, to the images of a batch and to their targets."""
    targets = batch.targets
    if targets is not None:
        changed = change(targets.flatten(1, -3))
        targets = changed.view(*targets.shape[:-2], *changed.shape[2:])
    return batch._replace(images=change(batch.images), targets=targets)


def to_whole_numbers(drawn: Tensor, below: Sequence[int]) -> Tensor:
    """Converts uniform numbers in [0, 1) ``[B, k]`` to whole numbers from 0 to below the bound of each column."""
    bounds = torch.tensor(below, device=drawn.device)
    # In half precision a product can round up to the bound itself.
    return torch.minimum((drawn * bounds).long(), bounds - 1)


def shift_images(images: Tensor, most: int, drawn: Tensor) -> Tensor:
    """Shifts images ``[B, C, H, W]`` by -most..most pixels along both axes, filled with 0.

    Args:
        drawn: ``[B, 2]`` in [0, 1), for rows and columns.
    """
    padded = F.pad(images, (most, most, most, most))
    return cut_windows(padded, to_whole_numbers(drawn, [2 * most + 1] * 2), images.shape[2], images.shape[3])


def cut_windows(images: Tensor, start: Tensor, height: int, width: int) -> Tensor:
    """Returns the window ``[B, C, height, width]`` of each image whose top left corner is ``start[b]`` (row, column)."""
    rows = start[:, :1] + torch.arange(height, device=images.device)
    columns = start[:, 1:] + torch.arange(width, device=images.device)
    which = torch.arange(len(images), device=images.device)
    # With channels last, the three indices are adjacent and each one selects all channels.
    cut = images.movedim(1, -1)[which[:, None, None], rows[:, :, None], columns[:, None, :]]
    return cut.movedim(-1, 1).contiguous()
