"""A plain CNN of a given number of parameters, for a comparison at equal size."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from capsbench_baselines.errors import UnmetParameters
from capsbench_baselines.reduction import count_reductions, make_reduction, reduce_shape
from capsbench_baselines.sizing import TOLERANCE

SMALLEST_GRID = 4
"""Smallest side, in pixels, that pooling may leave."""


class MatchedCNN(nn.Module):
    """A CNN with a capsule network's number of parameters: three blocks of 3x3 convolution, batch norm and ReLU.

    The mean over positions and a linear layer follow.

    The first two blocks end with 2x2 max pooling if that leaves a grid of 4x4 or more: the blocks see 8, 4, 4 pixels a side
    of an 8x8 image and 28, 14, 7 of a 28x28 one. With batch norm the network trains at the learning rates of capsule networks
    without dropout or warm-up. With the mean over positions, parameters go into features at any image size, not into one
    wide linear layer. Images of 64 pixels and more are reduced first, as those of the capsule networks are
    (`capsbench_baselines.reduction`).

    The blocks have w, 2w and 2w channels with the largest w that fits; the third one is widened to use up the rest.

    Args:
        image: channels, height and width.
        classes: number of logits.
        parameters: number of trainable parameters, met within 2 %.

    Raises:
        UnmetParameters: no widths meet ``parameters``; this happens only below 1,000.
    """

    @classmethod
    def sizes(cls, image: tuple[int, int, int]) -> dict[str, dict[str, Any]]:
        """Returns no options for any size: ``parameters`` alone decides."""
        return {"tiny": {}, "small": {}, "paper": {}}

    def __init__(self, image: tuple[int, int, int], classes: int, *, parameters: int) -> None:
        super().__init__()
        reductions = count_reductions(image)
        self.reduction = make_reduction(image[0], reductions)
        channels, height, width = reduce_shape(image, reductions)
        reducing = sum(parameter.numel() for parameter in self.reduction.parameters())
        narrow, last = solve_channels(channels, classes, parameters - reducing)
        side = min(height, width)
        self.features = nn.Sequential(
            _make_block(channels, narrow, pool=side >= 2 * SMALLEST_GRID),
            _make_block(narrow, 2 * narrow, pool=side >= 4 * SMALLEST_GRID),
            _make_block(2 * narrow, last, pool=False),
        )
        self.classes = nn.Linear(last, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[B, C, H, W]`` to logits ``[B, classes]``."""
        logits: Tensor = self.classes(self.features(self.reduction(images)).mean((2, 3)))
        return logits


def _make_block(before: int, after: int, *, pool: bool) -> nn.Sequential:
    layers = [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2)) if pool else nn.Sequential(*layers)


def count_parameters(channels: int, classes: int, narrow: int, last: int) -> int:
    """Returns the parameters of three bias-free 3x3 convolutions, their batch norms and a linear layer.

    A batch norm has a scale and a shift for each channel.
    """
    first = 9 * channels * narrow + 2 * narrow
    second = 9 * narrow * 2 * narrow + 2 * 2 * narrow
    third = 9 * 2 * narrow * last + 2 * last
    return first + second + third + last * classes + classes


def solve_channels(channels: int, classes: int, parameters: int) -> tuple[int, int]:
    """Returns the channels of the first and the third block for a number of parameters.

    Raises UnmetParameters if none fit.
    """
    widest = 1
    while count_parameters(channels, classes, widest + 1, 2 * (widest + 1)) <= parameters:
        widest += 1
    smallest = nearest = count_parameters(channels, classes, 1, 1)
    # A narrower start leaves a finer choice of the third block: its channels then count for fewer parameters each.
    for narrow in range(widest, 0, -1):
        fixed = count_parameters(channels, classes, narrow, 0)
        per_channel = count_parameters(channels, classes, narrow, 1) - fixed
        last = max(1, round((parameters - fixed) / per_channel))
        total = fixed + per_channel * last
        if abs(total - parameters) <= TOLERANCE * parameters:
            return narrow, last
        nearest = min(nearest, total, key=lambda size: abs(size - parameters))
    raise UnmetParameters(parameters, TOLERANCE, smallest, nearest)
