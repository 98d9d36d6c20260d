"""The residual network for small images (He, Zhang, Ren, Sun 2016, "Deep Residual Learning", section 4.2)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from capsbench_baselines.errors import ArgumentError
from capsbench_baselines.sizing import build_sized
from capsbench_baselines.weights import he_normal


class ResNet(nn.Module):
    """ResNet-20 of He 2016: a 3x3 convolution, three stages of three residual blocks, the mean over positions.

    Each block has two 3x3 convolutions with batch norms. The channels double from stage to stage while the grid is halved,
    by a stride of 2 in the first convolution; a linear layer leads from the means to the classes.

    The defaults are the paper's: 269,722 parameters on 32x32x3 images with 10 classes, for which the paper gives 0.27M.
    As there, no shortcut has parameters: where the channels double, it takes every second pixel and adds channels of 0 (option
    A). The paper does not say where; here they come after the others. Convolutions start from N(0, 2 / fan-in) (He 2015).

    Args:
        image: channels, height and width.
        classes: number of logits.
        width: channels of the first stage.
        blocks: residual blocks a stage (the paper's n): 6 n + 2 layers.
        parameters: number of trainable parameters, met within 2 % by stages that about double; 0: the
            number that the widths give.

    Raises:
        ArgumentError: ``blocks`` is below 1, or no widths meet ``parameters``.
    """

    @classmethod
    def sizes(cls, image: tuple[int, int, int]) -> dict[str, dict[str, Any]]:
        """Returns the options of each size: a quarter and half as wide, and as deep."""
        return {"tiny": dict(width=4), "small": dict(width=8), "paper": {}}

    def __init__(
        self, image: tuple[int, int, int], classes: int, *, width: int = 16, blocks: int = 3, parameters: int = 0
    ) -> None:
        super().__init__()
        if blocks < 1:
            raise ArgumentError("blocks", "1 or more", blocks)

        def make_layers(width1: int, width2: int, width3: int) -> nn.Sequential:
            return nn.Sequential(
                _make_convolution(image[0], width1),
                nn.BatchNorm2d(width1),
                nn.ReLU(),
                _make_stage(width1, width1, blocks, stride=1),
                _make_stage(width1, width2, blocks, stride=2),
                _make_stage(width2, width3, blocks, stride=2),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(width3, classes),
            )

        self.layers = build_sized(make_layers, (width, 2 * width, 4 * width), parameters)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[B, C, H, W]`` to logits ``[B, classes]``."""
        logits: Tensor = self.layers(images)
        return logits


class Block(nn.Module):
    """Two 3x3 convolutions whose output is added to their input (He 2016, equations 1 and 2, figure 2).

    Features ``[B, before, H, W]`` become ``[B, after, ceil(H / stride), ceil(W / stride)]``; ``after`` is not below ``before``.
    """

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _make_convolution(before, after, stride),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            _make_convolution(after, after),
            nn.BatchNorm2d(after),
        )
        self.stride, self.added = stride, after - before

    def forward(self, features: Tensor) -> Tensor:
        """Maps features to features, see above."""
        # Option A: every second pixel, and channels of 0, so that the shortcut has no parameters.
        shortcut = F.pad(features[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        return F.relu(self.residual(features) + shortcut)


def _make_stage(before: int, after: int, blocks: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        Block(before, after, stride=stride), *(Block(after, after, stride=1) for _ in range(blocks - 1))
    )


def _make_convolution(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return he_normal(nn.Conv2d(before, after, 3, stride, padding=1, bias=False))
