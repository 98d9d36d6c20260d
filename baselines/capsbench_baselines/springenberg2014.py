"""The all-convolutional network (Springenberg, Dosovitskiy, Brox, Riedmiller 2014, "Striving for Simplicity", section 3)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from capsbench_baselines.errors import ArgumentError
from capsbench_baselines.sizing import build_sized
from capsbench_baselines.weights import he_normal


class AllConvolutionalCNN(nn.Module):
    """All-CNN-C of Springenberg 2014: nine convolutions, two of them of stride 2 in place of pooling.

    Seven 3x3 and two 1x1 convolutions, the last one to a map of each class. ReLU follows each of them, the last one too;
    the logits are the means of its maps. Dropout on the image and after the convolutions of stride 2.

    The defaults are the paper's: 1,369,738 parameters on 32x32x3 images with 10 classes. Six 3x3 convolutions are padded and
    the seventh is not, which gives the 6x6 positions of the paper's table 1; on images of 8 pixels a side or less, where it
    would meet a grid of 2x2, it is padded too.

    The paper does not state the initial weights: here they are from N(0, 2 / fan-in) (He 2015), the biases 0. With torch's
    defaults the signal fades over nine layers without norms, and the network stays at chance for many epochs.

    Args:
        image: channels, height and width.
        classes: number of logits.
        width1, width2: channels of the first three convolutions, and of the five after them.
        input_dropout: share of the image's values dropped while training.
        dropout: share of the features dropped while training.
        norm: ``none`` as in the paper, or ``batch``: a batch norm after each convolution but the last, which the paper does
            not have. Without it the learning rate of the small sizes is too high.
        parameters: number of trainable parameters, met within 2 % by widths in about these proportions; 0: the number
            that the widths give.

    Raises:
        ArgumentError: there is no such norm, or no widths meet ``parameters``.
    """

    @classmethod
    def sizes(cls, image: tuple[int, int, int]) -> dict[str, dict[str, Any]]:
        """Returns the options of each size: a quarter and half as wide, with batch norm, without dropout, which takes long."""
        changed = dict(norm="batch", input_dropout=0.0, dropout=0.0)
        return {
            "tiny": dict(width1=24, width2=48, **changed),
            "small": dict(width1=48, width2=96, **changed),
            "paper": {},
        }

    def __init__(
        self,
        image: tuple[int, int, int],
        classes: int,
        *,
        width1: int = 96,
        width2: int = 192,
        input_dropout: float = 0.2,
        dropout: float = 0.5,
        norm: str = "none",
        parameters: int = 0,
    ) -> None:
        super().__init__()
        if norm not in ("none", "batch"):
            raise ArgumentError("norm", "none or batch", norm)
        channels, height, width = image
        # The paper's 6x6 positions need no padding here; a grid of 2x2 would not hold the kernel.
        seventh = 0 if min(height, width) > 8 else 1

        def make_layers(width1: int, width2: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Dropout(input_dropout),
                _make_convolution(channels, width1, norm=norm),
                _make_convolution(width1, width1, norm=norm),
                _make_convolution(width1, width1, norm=norm, stride=2),
                nn.Dropout(dropout),
                _make_convolution(width1, width2, norm=norm),
                _make_convolution(width2, width2, norm=norm),
                _make_convolution(width2, width2, norm=norm, stride=2),
                nn.Dropout(dropout),
                _make_convolution(width2, width2, norm=norm, padding=seventh),
                _make_convolution(width2, width2, norm=norm, kernel=1, padding=0),
                _make_convolution(width2, classes, norm="none", kernel=1, padding=0),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )

        self.layers = build_sized(make_layers, (width1, width2), parameters)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[B, C, H, W]`` to logits ``[B, classes]``."""
        logits: Tensor = self.layers(images)
        return logits


def _make_convolution(
    before: int, after: int, *, norm: str, kernel: int = 3, stride: int = 1, padding: int = 1
) -> nn.Sequential:
    convolution = he_normal(nn.Conv2d(before, after, kernel, stride, padding))
    return nn.Sequential(convolution, *([nn.BatchNorm2d(after)] if norm == "batch" else []), nn.ReLU())
