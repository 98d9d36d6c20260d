"""A plain CNN of a given number of parameters, for a comparison at equal size."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from capsbench_baselines.errors import UnmetParameters
from capsbench_baselines.sizing import TOLERANCE

SMALLEST_GRID = 4


class MatchedCNN(nn.Module):
    """Sized after a capsule network: three blocks of 3x3 convolution, batch norm and ReLU.

    Then come the mean over positions and a linear layer.

    The first two blocks end with 2x2 max pooling where that leaves a grid of 4x4 or more: the blocks see 8, 4, 4 pixels
    a side of an 8x8 image and 28, 14, 7 of a 28x28 one. Batch norm lets it train at the learning rates of capsule
    networks without dropout or warm-up; with the mean over positions, parameters go into features at any image size
    rather than into one wide linear layer.

    The blocks have w, 2w and 2w channels with the largest w that fits; the third one is widened to take up the rest.

    Args:
        image: channels, height and width.
        classes: number of logits.
        parameters: how many trainable parameters to have; met within 2 %.

    Raises:
        UnmetParameters: no widths meet ``parameters``, which only happens below 1,000.
    """

    @classmethod
    def sizes(cls, image: tuple[int, int, int]) -> dict[str, dict[str, Any]]:
        """No options at any size: ``parameters`` alone decides."""
        return {"tiny": {}, "small": {}, "paper": {}}

    def __init__(self, image: tuple[int, int, int], classes: int, *, parameters: int) -> None:
        super().__init__()
        channels, height, width = image
        narrow, last = solve(channels, classes, parameters)
        side = min(height, width)
        self.features = nn.Sequential(
            _block(channels, narrow, pool=side >= 2 * SMALLEST_GRID),
            _block(narrow, 2 * narrow, pool=side >= 4 * SMALLEST_GRID),
            _block(2 * narrow, last, pool=False),
        )
        self.classes = nn.Linear(last, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[B, C, H, W]`` to logits ``[B, classes]``."""
        logits: Tensor = self.classes(self.features(images).mean((2, 3)))
        return logits


def _block(before: int, after: int, *, pool: bool) -> nn.Sequential:
    layers = [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2)) if pool else nn.Sequential(*layers)


def count(channels: int, classes: int, narrow: int, last: int) -> int:
    """Parameters of three bias-free 3x3 convolutions with batch norms (a scale and a shift each) and a linear layer."""
    first = 9 * channels * narrow + 2 * narrow
    second = 9 * narrow * 2 * narrow + 2 * 2 * narrow
    third = 9 * 2 * narrow * last + 2 * last
    return first + second + third + last * classes + classes


def solve(channels: int, classes: int, parameters: int) -> tuple[int, int]:
    """Channels of the first and of the third block for a number of parameters; raises UnmetParameters if none fit."""
    widest = 1
    while count(channels, classes, widest + 1, 2 * (widest + 1)) <= parameters:
        widest += 1
    smallest = nearest = count(channels, classes, 1, 1)
    for narrow in range(widest, 0, -1):
        fixed = count(channels, classes, narrow, 0)
        each = count(channels, classes, narrow, 1) - fixed
        last = max(1, round((parameters - fixed) / each))
        found = fixed + each * last
        if abs(found - parameters) <= TOLERANCE * parameters:
            return narrow, last
        nearest = min(nearest, found, key=lambda size: abs(size - parameters))
    raise UnmetParameters(parameters, TOLERANCE, smallest, nearest)
