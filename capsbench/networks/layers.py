"""Capsule layers: primary, convolutional and class capsules. The last two take the routing as an argument.

Layers exchange capsules on a grid as `Capsules`: poses ``[B, H, W, types, R, D]`` and activations ``[B, H, W, types]``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from capsbench.errors import ArgumentError, check_choice
from capsbench.routing.base import LayerShape, RoutingFactory
from capsbench.routing.windows import Windows
from capsbench_baselines.reduction import reduce_shape
from capsbench_kernels import SQUASHES, at_least_float32, squash, vector_length


def draw_transforms(shape: tuple[int, int, int, int], sigma: float) -> nn.Parameter:
    """Draws transformation matrices ``[I, J, D, E]`` from N(0, sigma^2)."""
    return nn.Parameter(sigma * torch.randn(shape))


class Capsules(NamedTuple):
    """Poses ``[..., R, D]`` and activations ``[...]`` of the same leading shape."""

    poses: Tensor
    activations: Tensor


class PrimaryCapsules(nn.Module):
    """The first capsules, computed from a feature map by a convolution (Sabour 2017, section 4; Hinton 2018, section 4).

    With ``separate_activations``, poses are linear, and a second convolution with a sigmoid computes the activations (Hinton
    2018). Without, poses are squashed, and their length is the activation (Sabour 2017).

    Args:
        pose: (R, D), rows and depth of a pose; (1, 8) is Sabour's vector, (4, 4) is Hinton's matrix.
        batch_norm: replaces the bias of each convolution by a batch norm.
        squash: the variant of the squash (`capsbench_kernels.squash`). With ``unit``, the activation of a vector is the length
            that Sabour's squash would give.
        scale: multiplies vectors before the squash.
    """

    def __init__(
        self,
        channels: int,
        types: int,
        pose: tuple[int, int],
        *,
        kernel: int = 1,
        stride: int = 1,
        padding: int = 0,
        batch_norm: bool = False,
        squash: str = "sabour",
        scale: float = 1.0,
        separate_activations: bool,
    ) -> None:
        super().__init__()
        check_choice("squash", squash, SQUASHES)
        self.types, self.pose, self.squash, self.scale = types, pose, squash, scale

        def build_convolution(values: int) -> nn.Module:
            convolution = nn.Conv2d(channels, values, kernel, stride, padding, bias=not batch_norm)
            return nn.Sequential(convolution, nn.BatchNorm2d(values)) if batch_norm else convolution

        self.poses = build_convolution(types * pose[0] * pose[1])
        self.activations = build_convolution(types) if separate_activations else None

    def forward(self, features: Tensor) -> Capsules:
        """Maps a feature map ``[B, C, H, W]`` to capsules on the output grid of the convolution."""
        # The convolution leaves the values of a pose far apart. Side by side, their lengths take a tenth of the time.
        poses = (
            at_least_float32(self.poses(features)).movedim(1, -1).contiguous().unflatten(-1, (self.types, *self.pose))
        )
        if self.activations is not None:
            return Capsules(poses, torch.sigmoid(at_least_float32(self.activations(features))).movedim(1, -1))
        vectors = poses.flatten(-2) * self.scale
        squashed = squash(vectors, variant=self.squash)
        # Unit vectors all have length 1, so their activation comes from the squash of the paper instead.
        lengths = squash(vectors) if self.squash == "unit" else squashed
        return Capsules(squashed.unflatten(-1, self.pose), vector_length(lengths, dim=-1))


class ConvolutionalCapsules(nn.Module):
    """Capsules that each see a K x K window of the layer below (Hinton 2018, section 4: ConvCaps).

    Every output position is a separate routing problem with K*K*types children. All positions share the transformation
    matrices. Shares are normalised over the parents at one position, unless the routing takes the `Windows`.
    """

    def __init__(
        self,
        types_in: int,
        types_out: int,
        pose: tuple[int, int],
        routing: RoutingFactory,
        *,
        kernel: int,
        stride: int,
        transform_sigma: float,
    ) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        children, depth = kernel * kernel * types_in, pose[1]
        self.weights = draw_transforms((children, types_out, depth, depth), transform_sigma)
        self.routing = routing(children, types_out)
        self.routing.prepare(LayerShape(children, pose[0], depth, depth, classes=False))

    def forward(self, below: Capsules, **extra: Any) -> Capsules:
        """Maps capsules on a grid to capsules on a smaller grid; ``extra`` arguments go to the routing."""
        batch, height, width = below.activations.shape[:3]
        windows = Windows((batch, height, width), self.kernel, self.stride)
        poses = windows.split(below.poses.flatten(-2))
        # Batch and positions become one dimension of independent routing problems.
        grid, children = poses.shape[:3], poses.shape[3]
        activations = windows.split(below.activations.unsqueeze(-1)).reshape(-1, children)
        poses = poses.reshape(-1, children, *below.poses.shape[-2:])
        if self.routing.across_windows:
            extra["windows"] = windows
        poses, activations = self.routing(poses, self.weights, activations, **extra)
        return Capsules(poses.unflatten(0, grid), activations.unflatten(0, grid))


class ClassCapsules(nn.Module):
    """One capsule per class; its children are all capsules of a grid.

    Args:
        grid: (H, W) of the layer below.
        pose_in: (R, D) of the layer below.
        columns: E, the columns of a class pose; it has R rows.
        shared: True if all positions share the transformation matrices (Hinton 2018), False if each position has its own
            (Sabour 2017).
        poses_read: True if a decoder reads the class poses. If False, and the routing's activations do not depend on the votes,
            class poses have 0 columns.
        coordinate_addition: adds the position of a child, (row + 0.5) / H and (column + 0.5) / W, to the first two
            elements of the right-hand column of its votes (Hinton 2018, section 4; scaled as in Gritzman 2019). For a
            vector, to its first two values.
    """

    offset: Tensor | None

    def __init__(
        self,
        grid: tuple[int, int],
        types_in: int,
        classes: int,
        pose_in: tuple[int, int],
        columns: int,
        routing: RoutingFactory,
        *,
        shared: bool,
        coordinate_addition: bool,
        transform_sigma: float,
        poses_read: bool = True,
    ) -> None:
        super().__init__()
        positions = grid[0] * grid[1]
        rows, depth = pose_in
        distinct = types_in if shared else positions * types_in
        self.positions = positions if shared else 1
        self.routing = routing(positions * types_in, classes)
        if not poses_read and not self.routing.activations_need_votes:
            columns = 0
        self.weights = draw_transforms((distinct, classes, depth, columns), transform_sigma)
        self.routing.prepare(LayerShape(distinct, rows, depth, columns, classes=True))
        offset = None
        if coordinate_addition and columns:
            if max(rows, columns) < 2:
                raise ArgumentError("coordinate_addition", "votes of at least 2 values", max(rows, columns))
            # The coordinates of a position are constants, so one offset serves all images and all classes.
            offset = torch.zeros(1, *grid, types_in, rows, columns)
            first, second = ((0, -1), (1, -1)) if rows > 1 else ((0, 0), (0, 1))
            offset[..., *first] = ((torch.arange(grid[0]) + 0.5) / grid[0])[:, None, None]
            offset[..., *second] = ((torch.arange(grid[1]) + 0.5) / grid[1])[None, :, None]
            offset = offset.flatten(1, 3)
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, below: Capsules, **extra: Any) -> Capsules:
        """Maps capsules on the grid to class poses ``[B, classes, R, E]`` and activations ``[B, classes]``.

        ``extra`` arguments go to the routing.
        """
        # Children are ordered position, then type, so shared matrices repeat once per position.
        weights = self.weights.repeat(self.positions, 1, 1, 1) if self.positions > 1 else self.weights
        poses, activations = below.poses.flatten(1, 3), below.activations.flatten(1, 3)
        return Capsules(*self.routing(poses, weights, activations, self.offset, **extra))


def encode_presence(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Encodes labels as ``[B, classes]``: 1 for each class that the image shows, else 0.

    Args:
        labels: ``[B]`` or ``[B, K]``, numbers of classes; or ``[B, classes]``, bool, for any number of classes.
    """
    if labels.dtype == torch.bool:
        return labels.to(dtype)
    return F.one_hot(labels.view(labels.shape[0], -1), classes).sum(dim=1).to(dtype)


class Decoder(nn.Module):
    """Reconstructs the image from the labelled class capsules; the others are masked with zeros (Sabour 2017, section 4.1).

    Args:
        values: those of all class poses.
        image: the shape of an image.
        hidden: widths of the two hidden layers.
        reductions: the last layer makes an image of half the sides for each, which is enlarged by bilinear interpolation. The
            paper has none.
    """

    def __init__(self, values: int, image: tuple[int, int, int], hidden: tuple[int, int], reductions: int = 0) -> None:
        super().__init__()
        self.image = image
        self.made = (image[0], *reduce_shape(image, reductions)[1:])
        pixels = math.prod(self.made)
        self.layers = nn.Sequential(
            nn.Linear(values, hidden[0]),
            nn.ReLU(),
            nn.Linear(hidden[0], hidden[1]),
            nn.ReLU(),
            nn.Linear(hidden[1], pixels),
            nn.Sigmoid(),
        )

    def forward(self, poses: Tensor, labels: Tensor) -> Tensor:
        """Maps class poses ``[B, classes, R, E]`` and the classes to keep to images in [0, 1].

        Args:
            labels: the classes to keep, as in `encode_presence`.
        """
        mask = encode_presence(labels, poses.shape[1], poses.dtype)
        masked = poses.flatten(2) * mask.unsqueeze(2)
        images: Tensor = self.layers(masked.flatten(1)).unflatten(1, self.made)
        if self.made == self.image:
            return images
        return F.interpolate(images, self.image[1:], mode="bilinear", align_corners=False)
