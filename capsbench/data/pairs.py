"""Pairs of images with the known transformation between them, what a transforming auto-encoder learns from (Hinton 2011).

Both images of a pair are transformed, each by itself: what a network sees does not always lie as it does in the data set. x
points to the right and y down, in pixels from the centre of the image, as in `capsbench.data.warps`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from capsbench.data.augment import whole_numbers, windows
from capsbench.data.images import Augmentation, Batch, Images
from capsbench.data.lazy import functional as F
from capsbench.data.lazy import torch
from capsbench.data.warps import ROTATION, SCALE, SHEAR, affine, warped
from capsbench.errors import ArgumentError

if TYPE_CHECKING:
    from torch import Tensor


class Pairs(Augmentation):
    """Base class of a family of transformations: how it makes pairs of images, and how it moves the poses in them.

    A batch gets the transformed images as its ``images`` and its ``targets``, and as ``transforms`` what leads from one to the
    other.
    """

    pose: ClassVar[tuple[int, ...]]
    """The shape of a pose that such transformations move."""

    parts: ClassVar[dict[str, list[int]]]
    """What they change of a pose: name -> which of its numbers, counted row by row."""

    @abstractmethod
    def beyond(self) -> Pairs:
        """Pairs whose targets lie outside the range of this family, up to twice as far; the images lie inside."""

    @abstractmethod
    def identity(self, images: Tensor) -> Tensor:
        """The transforms ``[B, ...]`` that leave images as they are."""

    @abstractmethod
    def moved(self, poses: Tensor, transforms: Tensor) -> Tensor:
        """Poses ``[B, capsules, *pose]`` after the transforms ``[B, ...]``, one an image."""


class ShiftPairs(Pairs):
    """Pairs of shifted images; what comes in is 0. A transform ``[2]`` is (x, y) in whole pixels, a pose the same.

    Args:
        reach: images and targets are shifted by up to this many pixels along both axes, all such shifts being as likely.
        targets: the least and the most by which targets are shifted along one of the axes, if not 0 and ``reach``.
    """

    draws = 2
    pose = (2,)
    parts = {"x": [0], "y": [1]}

    def __init__(self, reach: int, targets: tuple[int, int] | None = None) -> None:
        if reach < 1:
            raise ArgumentError("reach", "1 pixel or more", reach)
        self.reach = reach
        self.targets = targets or (0, reach)

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        before, after = _shifts(drawn[:, :1], 0, self.reach), _shifts(drawn[:, 1:], *self.targets)
        room = max(self.reach, self.targets[1])
        return batch._replace(
            images=_shifted(batch.images, before, room),
            targets=_shifted(batch.images, after, room),
            transforms=(after - before).to(batch.images.dtype),
        )

    def beyond(self) -> ShiftPairs:
        return ShiftPairs(self.reach, (self.reach + 1, 2 * self.reach))

    def identity(self, images: Tensor) -> Tensor:
        return images.new_zeros(len(images), 2)

    def moved(self, poses: Tensor, transforms: Tensor) -> Tensor:
        return poses + transforms.unsqueeze(1)


class AffinePairs(Pairs):
    """Pairs of warped images. A transform is a matrix ``[3, 3]`` of homogeneous coordinates, and multiplies a pose.

    The ranges are affNIST's, all uniform: rotations by -20 to 20 degrees, a shear of -0.2 to 0.2, scales of 0.8 to 1.2 in x
    and in y, with a translation by up to ``reach`` pixels along both axes. In a transform the unit of length is half the longer
    side of the image, so that all of its numbers are of one order.
    """

    draws = 12
    pose = (3, 3)
    parts = {"linear part": [0, 1, 3, 4], "translation": [2, 5]}

    def __init__(self, reach: int, outside: bool = False) -> None:
        if reach < 1:
            raise ArgumentError("reach", "1 pixel or more", reach)
        self.reach = reach
        self.outside = outside

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        first, second = (2 * drawn.double() - 1).split(6, dim=1)
        if self.outside:  # the largest of the six numbers, r, becomes 1 + r
            largest = second.abs().amax(dim=1, keepdim=True).clamp_min(1e-9)
            second = second * (1 + largest) / largest
        before, after = self._matrices(first), self._matrices(second)
        transforms = after @ torch.linalg.inv(before)
        transforms[:, :2, 2] /= max(batch.images.shape[2:]) / 2
        return batch._replace(
            images=warped(batch.images, before[:, :2]),
            targets=warped(batch.images, after[:, :2]),
            transforms=transforms.to(batch.images.dtype),
        )

    def beyond(self) -> AffinePairs:
        return AffinePairs(self.reach, outside=True)

    def identity(self, images: Tensor) -> Tensor:
        return torch.eye(3, dtype=images.dtype, device=images.device).expand(len(images), 3, 3)

    def moved(self, poses: Tensor, transforms: Tensor) -> Tensor:
        return transforms.unsqueeze(1) @ poses

    def _matrices(self, numbers: Tensor) -> Tensor:
        """Warps ``[B, 3, 3]`` in pixels, of numbers ``[B, 6]`` that are -1 to 1 inside the range."""
        rotation, shear, scale_x, scale_y = numbers[:, :4].unbind(1)
        matrices = torch.eye(3, dtype=numbers.dtype, device=numbers.device).repeat(len(numbers), 1, 1)
        matrices[:, :2, :2] = affine(ROTATION * rotation, SHEAR * shear, 1 + SCALE * scale_x, 1 + SCALE * scale_y)
        matrices[:, :2, 2] = self.reach * numbers[:, 4:]
        return matrices


def _shifts(drawn: Tensor, least: int, most: int) -> Tensor:
    """Whole (x, y) ``[B, 2]``, the longer of the two from least to most, of numbers ``[B, 1]`` in [0, 1)."""
    along = torch.arange(-most, most + 1, device=drawn.device)
    shifts = torch.cartesian_prod(along, along)
    shifts = shifts[shifts.abs().amax(dim=1) >= least]
    return shifts[whole_numbers(drawn, [len(shifts)]).squeeze(1)]


def _shifted(images: Tensor, shifts: Tensor, room: int) -> Tensor:
    """Images ``[B, C, H, W]`` moved by whole (x, y) ``[B, 2]`` of up to ``room`` pixels."""
    padded = F.pad(images, (room, room, room, room))
    return windows(padded, room - shifts.flip(1), images.shape[2], images.shape[3])
