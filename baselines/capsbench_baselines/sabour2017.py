"""The CNN beside CapsNet (Sabour, Frosst, Hinton 2017, "Dynamic Routing Between Capsules", section 5)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from capsbench_baselines.sizing import build_sized


class SabourCNN(nn.Module):
    """The CNN of Sabour 2017: three 5x5 convolutions of stride 1, two fully connected layers.

    ReLU throughout, dropout before the classes.

    The defaults are the paper's: 35,445,522 parameters on 28x28x1 images with 10 classes. The paper's 35.4M requires
    convolutions that keep the image's size, which it does not state; without padding there are 13.3M.

    Args:
        image: channels, height and width.
        classes: number of logits.
        width1, width2, width3: channels of the convolutions.
        hidden1, hidden2: units of the fully connected layers.
        dropout: share of the last hidden units dropped while training; the paper does not state it.
        parameters: number of trainable parameters, met within 2 % by widths in about these proportions; 0: the number
            that the widths give.

    Raises:
        ArgumentError: no widths meet ``parameters``.
    """

    @classmethod
    def sizes(cls, image: tuple[int, int, int]) -> dict[str, dict[str, Any]]:
        """Returns the options of each size: convolutions an eighth and a quarter as wide, a quarter of the hidden units."""
        return {
            "tiny": dict(width1=32, width2=32, width3=16, hidden1=82, hidden2=48),
            "small": dict(width1=64, width2=64, width3=32, hidden1=82, hidden2=48),
            "paper": {},
        }

    def __init__(
        self,
        image: tuple[int, int, int],
        classes: int,
        *,
        width1: int = 256,
        width2: int = 256,
        width3: int = 128,
        hidden1: int = 328,
        hidden2: int = 192,
        dropout: float = 0.5,
        parameters: int = 0,
    ) -> None:
        super().__init__()
        channels, height, width = image

        def make_layers(width1: int, width2: int, width3: int, hidden1: int, hidden2: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(channels, width1, 5, padding="same"),
                nn.ReLU(),
                nn.Conv2d(width1, width2, 5, padding="same"),
                nn.ReLU(),
                nn.Conv2d(width2, width3, 5, padding="same"),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(width3 * height * width, hidden1),
                nn.ReLU(),
                nn.Linear(hidden1, hidden2),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden2, classes),
            )

        self.layers = build_sized(make_layers, (width1, width2, width3, hidden1, hidden2), parameters)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[B, C, H, W]`` to logits ``[B, classes]``."""
        logits: Tensor = self.layers(images)
        return logits
