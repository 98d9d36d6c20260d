"""The CNN beside matrix capsules (Hinton, Sabour, Frosst 2018, "Matrix Capsules with EM Routing", section 5)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from capsbench_baselines.errors import ArgumentError
from capsbench_baselines.sizing import build_sized


class HintonCNN(nn.Module):
    """The CNN of Hinton 2018: two 5x5 convolutions with 2x2 max pooling, a fully connected layer.

    Each convolution is followed by its pooling; ReLU throughout, dropout before the classes.

    The defaults are the paper's: 4,253,349 parameters on what it trained on, smallNORB crops of 32x32x2 in 5 classes.
    Its 4.2M requires convolutions that keep the image's size, which the paper does not state.

    Args:
        image: channels, height and width.
        classes: number of logits.
        width1, width2: channels of the convolutions.
        hidden: units of the fully connected layer.
        dropout: share of the hidden units dropped while training; the paper does not state it.
        parameters: number of trainable parameters, met within 2 % by widths in about these proportions; 0: the number
            that the widths give.

    Raises:
        ArgumentError: nothing is left of the image after pooling twice, or no widths meet ``parameters``.
    """

    @classmethod
    def sizes(cls, image: tuple[int, int, int]) -> dict[str, dict[str, Any]]:
        """Returns the options of each size."""
        return {
            "tiny": dict(width1=8, width2=16, hidden=128),
            "small": dict(width1=16, width2=32, hidden=256),
            "paper": {},
        }

    def __init__(
        self,
        image: tuple[int, int, int],
        classes: int,
        *,
        width1: int = 32,
        width2: int = 64,
        hidden: int = 1024,
        dropout: float = 0.5,
        parameters: int = 0,
    ) -> None:
        super().__init__()
        channels, height, width = image
        if min(height, width) < 4:
            raise ArgumentError("image", "at least 4x4 pixels", (height, width))

        def make_layers(width1: int, width2: int, hidden: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(channels, width1, 5, padding="same"),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(width1, width2, 5, padding="same"),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(width2 * (height // 4) * (width // 4), hidden),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, classes),
            )

        self.layers = build_sized(make_layers, (width1, width2, hidden), parameters)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[B, C, H, W]`` to logits ``[B, classes]``."""
        logits: Tensor = self.layers(images)
        return logits
