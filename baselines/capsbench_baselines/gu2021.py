"""The CNN that beats CapsNet on affNIST (Gu, Tresp, Hu 2021, "Capsule Network is Not More Robust than Convolutional Network")."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from capsbench_baselines.errors import ArgumentError
from capsbench_baselines.sizing import build_sized


class AveragePoolingCNN(nn.Module):
    """The CNN of Gu 2021: CapsNet's two 9x9 convolutions, the mean over positions, a linear layer.

    The first convolution has stride 1, the second one stride 2; each is followed by ReLU. There is no padding.

    The defaults are the paper's three layers with 9x9 kernels and average pooling: 5,332,234 parameters on 40x40x1 images
    with 10 classes. Its 5.3M are those of CapsNet's first two layers (256 channels each) and of a linear layer on no more
    than 2x2 positions. The paper's text does not give the strides, the padding and the extent of the mean: they follow from
    CapsNet's layers and the count.

    Args:
        image: channels, height and width.
        classes: number of logits.
        width1, width2: channels of the convolutions.
        kernel: side of both convolutions.
        parameters: number of trainable parameters, met within 2 % by widths in about these proportions; 0: the number
            that the widths give.

    Raises:
        ArgumentError: the kernels do not fit into the image, or no widths meet ``parameters``.
    """

    @classmethod
    def sizes(cls, image: tuple[int, int, int]) -> dict[str, dict[str, Any]]:
        """Returns the options of each size: an eighth and a quarter as wide; 3x3 kernels on images below 20 pixels a side."""
        kernel = 9 if min(image[1:]) >= 20 else 3
        return {
            "tiny": dict(width1=32, width2=32, kernel=kernel),
            "small": dict(width1=64, width2=64, kernel=kernel),
            "paper": {},
        }

    def __init__(
        self,
        image: tuple[int, int, int],
        classes: int,
        *,
        width1: int = 256,
        width2: int = 256,
        kernel: int = 9,
        parameters: int = 0,
    ) -> None:
        super().__init__()
        channels, height, width = image
        largest = (min(height, width) + 1) // 2
        if not 1 <= kernel <= largest:
            raise ArgumentError("kernel", f"1 to {largest} on {height}x{width} pixels", kernel)

        def make_layers(width1: int, width2: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(channels, width1, kernel),
                nn.ReLU(),
                nn.Conv2d(width1, width2, kernel, stride=2),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(width2, classes),
            )

        self.layers = build_sized(make_layers, (width1, width2), parameters)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[B, C, H, W]`` to logits ``[B, classes]``."""
        logits: Tensor = self.layers(images)
        return logits
