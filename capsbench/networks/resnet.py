"""Stages of residual blocks (He, Zhang, Ren, Sun 2016), the backbones under some capsule networks."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

Shortcut = Callable[[int, int, int], nn.Module]
"""(channels before, channels, stride) -> what takes the input of a block to the shape of its output."""


def residual_stage(before: int, channels: int, blocks: int, stride: int, shortcut: Shortcut) -> nn.Sequential:
    """Blocks of two 3x3 convolutions and a shortcut; the first has the stride, and makes ``channels`` of those ``before``."""
    from torchvision.models.resnet import BasicBlock  # takes a second to import, and few networks have any

    changes = stride != 1 or before != channels
    first = BasicBlock(before, channels, stride, shortcut(before, channels, stride) if changes else None)
    return nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(blocks - 1)))


class PaddedShortcut(nn.Module):
    """Takes every stride-th pixel and adds channels of 0, half of them before and half after (He 2016, option A)."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.added = (channels - before) // 2, channels - before - (channels - before) // 2

    def forward(self, features: Tensor) -> Tensor:
        return F.pad(features[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.added))


def projection_shortcut(before: int, channels: int, stride: int) -> nn.Module:
    """A 1x1 convolution and a batch norm (He 2016, option B)."""
    return nn.Sequential(nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
