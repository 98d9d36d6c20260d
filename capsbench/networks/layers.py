"""Capsule layers: primary, convolutional and class capsules, each with the routing it is given.

Capsules on a grid travel as `Capsules`: poses ``[B, H, W, types, R, D]`` and activations ``[B, H, W, types]``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from capsbench.errors import ArgumentError, check_choice
from capsbench.routing.base import LayerShape, RoutingFactory
from capsbench.routing.windows import Windows
from capsbench_kernels import SQUASHES, at_least_float32, squash, vector_length


def initial_transforms(shape: tuple[int, int, int, int], sigma: float) -> nn.Parameter:
    """Transformation matrices ``[I, J, D, E]`` drawn from N(0, sigma^2)."""
    return nn.Parameter(sigma * torch.randn(shape))


class Capsules(NamedTuple):
    """Poses ``[..., R, D]`` and activations ``[...]`` of the same leading shape."""

    poses: Tensor
    activations: Tensor


class PrimaryCapsules(nn.Module):
    """The first capsules, read off a feature map by a convolution (Sabour 2017, section 4; Hinton 2018, section 4).

    With ``separate_activations`` poses are linear and a second convolution with a sigmoid gives the activations (Hinton
    2018); without, poses are squashed and their length is the activation (Sabour 2017).

    Args:
        pose: (R, D), rows and depth of a pose; (1, 8) is Sabour's vector, (4, 4) Hinton's matrix.
        batch_norm: puts a batch norm in the place of each convolution's bias.
        squash: the variant that vectors go through (`capsbench_kernels.squash`); with ``unit`` their activation is the length
            that Sabour's would have given them.
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

        def read_off(values: int) -> nn.Module:
            convolution = nn.Conv2d(channels, values, kernel, stride, padding, bias=not batch_norm)
            return nn.Sequential(convolution, nn.BatchNorm2d(values)) if batch_norm else convolution

        self.poses = read_off(types * pose[0] * pose[1])
        self.activations = read_off(types) if separate_activations else None

    def forward(self, features: Tensor) -> Capsules:
        """Feature map ``[B, C, H, W]`` to capsules on the grid that the convolution leaves."""
        poses = at_least_float32(self.poses(features)).movedim(1, -1).unflatten(-1, (self.types, *self.pose))
        if self.activations is not None:
            return Capsules(poses, torch.sigmoid(at_least_float32(self.activations(features))).movedim(1, -1))
        vectors = poses.flatten(-2) * self.scale
        squashed = squash(vectors, variant=self.squash)
        lengths = squash(vectors) if self.squash == "unit" else squashed
        return Capsules(squashed.unflatten(-1, self.pose), vector_length(lengths, dim=-1))


class ConvolutionalCapsules(nn.Module):
    """Capsules that each look at a K x K window of the layer below (Hinton 2018, section 4: ConvCaps).

    Every output position is a routing problem of its own, with K*K*types children; the transformation matrices are the
    same at all positions. Shares are normalised over the parents at one position, unless the routing asks for the `Windows`.
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
        self.weights = initial_transforms((children, types_out, depth, depth), transform_sigma)
        self.routing = routing(children, types_out)
        self.routing.prepare(LayerShape(children, pose[0], depth, depth, classes=False))

    def forward(self, below: Capsules, **further: Any) -> Capsules:
        """Capsules on a grid to capsules on the smaller grid; the routing gets ``further`` as it is."""
        batch, height, width = below.activations.shape[:3]
        windows = Windows((batch, height, width), self.kernel, self.stride)
        poses = windows.split(below.poses.flatten(-2))
        grid, children = poses.shape[:3], poses.shape[3]
        activations = windows.split(below.activations.unsqueeze(-1)).reshape(-1, children)
        poses = poses.reshape(-1, children, *below.poses.shape[-2:])
        shared: dict[str, Any] = {"windows": windows} if self.routing.across_windows else {}
        poses, activations = self.routing(poses, self.weights, activations, **shared, **further)
        return Capsules(poses.unflatten(0, grid), activations.unflatten(0, grid))


class ClassCapsules(nn.Module):
    """One capsule a class, routed from every capsule of a grid.

    Args:
        grid: (H, W) of the layer below.
        pose_in: (R, D) of the layer below.
        columns: E, the columns of a class pose; it has R rows.
        shared: whether a transformation matrix serves all positions (Hinton 2018) or each has its own (Sabour 2017).
        poses_read: whether anything reads the class poses. Where nothing does, and the routing's activations do not depend on
            the votes either, class poses have 0 columns.
        coordinate_addition: adds the position of a child, (row + 0.5) / H and (column + 0.5) / W, to the first two
            elements of the right-hand column of its votes (Hinton 2018, section 4; scaled as Gritzman 2019), or of a
            vector's values.
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
        self.weights = initial_transforms((distinct, classes, depth, columns), transform_sigma)
        self.routing.prepare(LayerShape(distinct, rows, depth, columns, classes=True))
        offset = None
        if coordinate_addition and columns:
            if max(rows, columns) < 2:
                raise ArgumentError("coordinate_addition", "votes of at least 2 values", max(rows, columns))
            offset = torch.zeros(1, *grid, types_in, rows, columns)
            first, second = ((0, -1), (1, -1)) if rows > 1 else ((0, 0), (0, 1))
            offset[..., *first] = ((torch.arange(grid[0]) + 0.5) / grid[0])[:, None, None]
            offset[..., *second] = ((torch.arange(grid[1]) + 0.5) / grid[1])[None, :, None]
            offset = offset.flatten(1, 3)
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, below: Capsules, **further: Any) -> Capsules:
        """Capsules on the grid to class poses ``[B, classes, R, E]`` and activations ``[B, classes]``; ``further`` as above."""
        weights = self.weights.repeat(self.positions, 1, 1, 1) if self.positions > 1 else self.weights
        poses, activations = below.poses.flatten(1, 3), below.activations.flatten(1, 3)
        return Capsules(*self.routing(poses, weights, activations, self.offset, **further))


def presence(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """1 for each class that an image shows, else 0, ``[B, classes]``; of labels ``[B]`` or ``[B, K]``."""
    return F.one_hot(labels.view(len(labels), -1), classes).sum(dim=1).to(dtype)


class Decoder(nn.Module):
    """Reconstructs the image from the class capsules, all but those named masked with zeros (Sabour 2017, section 4.1)."""

    def __init__(self, values: int, image: tuple[int, int, int], hidden: tuple[int, int]) -> None:
        super().__init__()
        self.image = image
        pixels = image[0] * image[1] * image[2]
        self.layers = nn.Sequential(
            nn.Linear(values, hidden[0]),
            nn.ReLU(),
            nn.Linear(hidden[0], hidden[1]),
            nn.ReLU(),
            nn.Linear(hidden[1], pixels),
            nn.Sigmoid(),
        )

    def forward(self, poses: Tensor, labels: Tensor) -> Tensor:
        """Class poses ``[B, classes, R, E]`` and the classes to keep, ``[B]`` or ``[B, K]``, to images in [0, 1]."""
        mask = presence(labels, poses.shape[1], poses.dtype)
        masked = poses.flatten(2) * mask.unsqueeze(2)
        return self.layers(masked.flatten(1)).unflatten(1, self.image)
