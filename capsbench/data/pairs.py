"""Pairs of images with a known transformation between them, the training data of a transforming auto-encoder (Hinton 2011).

Both images of a pair are transformed, independently, so that inputs vary in position too. x points to the right and y down, in
pixels from the centre of the image, as in `capsbench.data.warps`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from capsbench.data.augment import cut_windows, to_whole_numbers
from capsbench.data.images import Augmentation, Batch, Images
from capsbench.data.lazy import functional as F
from capsbench.data.lazy import torch
from capsbench.data.warps import ROTATION, SCALE, SHEAR, build_linear_parts, warp_images
from capsbench.errors import ArgumentError

if TYPE_CHECKING:
    from torch import Tensor


class Pairs(Augmentation):
    """Base class of a family of transformations, which makes pairs of images and moves their poses.

    The ``images`` and ``targets`` of a batch are the transformed images; its ``transforms`` lead from the first to the second.
    """

    pose: ClassVar[tuple[int, ...]]
    """Shape of a pose of this family."""

    parts: ClassVar[dict[str, list[int]]]
    """Parts of a pose that the transformations change: name -> indices of its numbers, row by row."""

    @abstractmethod
    def extend_range(self) -> Pairs:
        """Returns pairs whose targets lie outside the range of this family, up to twice as far. The images lie inside."""

    @abstractmethod
    def make_identity(self, images: Tensor) -> Tensor:
        """Returns transforms ``[B, ...]`` that do not change the images."""

    @abstractmethod
    def move_poses(self, poses: Tensor, transforms: Tensor) -> Tensor:
        """Applies transforms ``[B, ...]``, one per image, to poses ``[B, capsules, *pose]``."""


class ShiftPairs(Pairs):
    """Pairs of shifted images, filled with 0. A transform ``[2]`` is (x, y) in whole pixels, and so is a pose.

    Args:
        reach: images and targets are shifted by up to this many pixels along both axes; all such shifts are equally likely.
        targets: the least and greatest shift of targets along the axis of the longer shift; None: 0 and ``reach``.
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
        before, after = _draw_shifts(drawn[:, :1], 0, self.reach), _draw_shifts(drawn[:, 1:], *self.targets)
        room = max(self.reach, self.targets[1])
        return batch._replace(
            images=_move_images(batch.images, before, room),
            targets=_move_images(batch.images, after, room),
            transforms=(after - before).to(batch.images.dtype),
        )

    def extend_range(self) -> ShiftPairs:
        return ShiftPairs(self.reach, (self.reach + 1, 2 * self.reach))

    def make_identity(self, images: Tensor) -> Tensor:
        return images.new_zeros(images.shape[0], 2)

    def move_poses(self, poses: Tensor, transforms: Tensor) -> Tensor:
        return poses + transforms.unsqueeze(1)


class AffinePairs(Pairs):
    """Pairs of warped images. A transform is a matrix ``[3, 3]`` of homogeneous coordinates that multiplies a pose.

    The ranges are affNIST's, all uniform: rotations by -20 to 20 degrees, a shear of -0.2 to 0.2, scales of 0.8 to 1.2 in x
    and in y, and a translation by up to ``reach`` pixels along both axes. The unit of length of a transform is half the longer
    side of the image, so all of its numbers are of the same order.
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
        before, after = self._to_matrices(first), self._to_matrices(second)
        transforms = after @ torch.linalg.inv(before)
        transforms[:, :2, 2] /= max(batch.images.shape[2:]) / 2
        return batch._replace(
            images=warp_images(batch.images, before[:, :2]),
            targets=warp_images(batch.images, after[:, :2]),
            transforms=transforms.to(batch.images.dtype),
        )

    def extend_range(self) -> AffinePairs:
        return AffinePairs(self.reach, outside=True)

    def make_identity(self, images: Tensor) -> Tensor:
        return torch.eye(3, dtype=images.dtype, device=images.device).expand(images.shape[0], 3, 3)

    def move_poses(self, poses: Tensor, transforms: Tensor) -> Tensor:
        return transforms.unsqueeze(1) @ poses

    def _to_matrices(self, numbers: Tensor) -> Tensor:
        """Converts numbers ``[B, 6]``, -1 to 1 inside the range, to warps ``[B, 3, 3]`` in pixels."""
        rotation, shear, scale_x, scale_y = numbers[:, :4].unbind(1)
        matrices = torch.eye(3, dtype=numbers.dtype, device=numbers.device).repeat(len(numbers), 1, 1)
        matrices[:, :2, :2] = build_linear_parts(
            ROTATION * rotation, SHEAR * shear, 1 + SCALE * scale_x, 1 + SCALE * scale_y
        )
        matrices[:, :2, 2] = self.reach * numbers[:, 4:]
        return matrices


def _draw_shifts(drawn: Tensor, least: int, most: int) -> Tensor:
    """Draws whole shifts (x, y) ``[B, 2]``, the longer of the two from least to most, by numbers ``[B, 1]`` in [0, 1)."""
    along = torch.arange(-most, most + 1, device=drawn.device)
    shifts = torch.cartesian_prod(along, along)
    shifts = shifts[shifts.abs().amax(dim=1) >= least]
    return shifts[to_whole_numbers(drawn, [len(shifts)]).squeeze(1)]


def _move_images(images: Tensor, shifts: Tensor, room: int) -> Tensor:
    """Moves images ``[B, C, H, W]`` by whole shifts (x, y) ``[B, 2]`` of up to ``room`` pixels."""
    padded = F.pad(images, (room, room, room, room))
    return cut_windows(padded, room - shifts.flip(1), images.shape[2], images.shape[3])
