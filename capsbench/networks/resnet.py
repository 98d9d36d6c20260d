"""Stages of residual blocks (He, Zhang, Ren, Sun 2016), the backbones of some capsule networks."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

Shortcut = Callable[[int, int, int], nn.Module]
"""A function (input channels, output channels, stride) -> the module that gives a block's input the shape of its output."""


def build_residual_stage(before: int, channels: int, blocks: int, stride: int, shortcut: Shortcut) -> nn.Sequential:
    """Builds blocks of two 3x3 convolutions and a shortcut. The first block has the stride and changes the channels."""
    from torchvision.models.resnet import BasicBlock  # a slow import that few networks need

    changes = stride != 1 or before != channels
    first = BasicBlock(before, channels, stride, shortcut(before, channels, stride) if changes else None)
    return nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(blocks - 1)))


class PaddedShortcut(nn.Module):
    """Takes every stride-th pixel and pads the channels with 0, half before and half after (He 2016, option A)."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.added = (channels - before) // 2, channels - before - (channels - before) // 2

    def forward(self, features: Tensor) -> Tensor:
        return F.pad(features[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.added))


def build_projection_shortcut(before: int, channels: int, stride: int) -> nn.Module:
    """Builds a 1x1 convolution and a batch norm (He 2016, option B)."""
    return nn.Sequential(nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
