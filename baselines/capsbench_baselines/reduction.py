"""Convolutions that halve large images in front of a network, the same for capsule networks and the matched CNN."""

from __future__ import annotations

import math

from torch import nn

LARGE = 64
"""Images of this many pixels a side and more are reduced by the sizes ``tiny`` and ``small``."""

SIDE, SHORTEST = 32, 20
"""Reduction goes on until the longer side has at most `SIDE` pixels, or another halving would leave less than `SHORTEST`."""

CHANNELS = 8
"""Channels of a reduced image."""


def count_reductions(image: tuple[int, int, int]) -> int:
    """Returns how often images ``(C, H, W)`` are halved: 0 below 64 pixels, 1 at 64, 2 at 96 and 128, 3 at 224."""
    short, long = sorted(image[1:])
    if long < LARGE:
        return 0
    return max(0, min(math.ceil(math.log2(long / SIDE)), math.floor(math.log2(short / SHORTEST))))


def reduce_shape(image: tuple[int, int, int], reductions: int) -> tuple[int, int, int]:
    """Returns the shape of images after some reductions."""
    channels, height, width = image
    for _ in range(reductions):
        channels, height, width = CHANNELS, (height + 1) // 2, (width + 1) // 2
    return channels, height, width


def make_reduction(channels: int, reductions: int) -> nn.Sequential:
    """Returns layers that halve images, each time by a 3x3 convolution of stride 2, batch norm and ReLU, to `CHANNELS` channels.

    Images at full size go through few channels, so that the cost of a network stays near that on images of 32 pixels. No paper
    has this part: it makes networks for images that their papers do not treat.
    """
    layers: list[nn.Module] = []
    for before in [channels, *[CHANNELS] * reductions][:reductions]:
        convolution = nn.Conv2d(before, CHANNELS, 3, 2, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(CHANNELS), nn.ReLU()]
    return nn.Sequential(*layers)
