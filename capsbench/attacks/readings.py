"""Readings: maps from the scores of a network to logits, for attacks.

An attack follows the gradient of a loss of logits. A capsule network has no logits: its scores are activations in [0, 1], and
the success of an attack depends on the map from activations to logits. All maps here are monotone, so that they do not change
the predictions of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from capsbench.errors import check_choice
from capsbench.records.cell import Cell
from capsbench_kernels import at_least_float32

FLOOR = 1e-12
"""Added inside logarithms, so that gradients are at most 1e12 and activations of exactly 0 or 1 have finite logits."""

SCALE = 20.0
"""The factor of activations in the reading ``scaled``, and so the largest difference of two logits."""


def _to_log_share(activations: Tensor) -> Tensor:
    floored = activations + FLOOR
    return floored.log() - floored.sum(dim=1, keepdim=True).log()


def _to_logit(activations: Tensor) -> Tensor:
    return (activations + FLOOR).log() - (1 - activations + FLOOR).log()


CAPSULE_READINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "lengths": lambda activations: activations,
    "share": _to_log_share,
    "logit": _to_logit,
    "scaled": lambda activations: SCALE * activations,
}
"""Maps from activations a ``[B, classes]`` in [0, 1] to logits: a, log(a / sum a), log(a / (1 - a)) and 20 a, with `FLOOR`."""

READINGS: dict[str, Callable[[Tensor], Tensor]] = {**CAPSULE_READINGS, "logits": lambda logits: logits}
"""All readings; the scores of a CNN are logits already."""


def list_readings(cell: Cell) -> tuple[str, ...]:
    """Returns the names of all readings of a cell's network; the first is the unchanged scores."""
    return ("logits",) if not cell.has_routing else tuple(CAPSULE_READINGS)


class Pixels(NamedTuple):
    """The pixel range of a network's images; attacks use [0, 1]."""

    low: float = 0.0
    high: float = 1.0

    @classmethod
    def from_images(cls, images: Tensor, *, standardised: bool) -> Pixels:
        """Returns [0, 1] or, for standardised images ``[N, C, H, W]``, the range of all their pixels."""
        if not standardised:
            return cls()
        low, high = images.aminmax()
        return cls(float(low), float(high))

    def to_unit(self, images: Tensor) -> Tensor:
        """Converts a network's images to images in [0, 1]."""
        return images if self == Pixels() else ((images - self.low) / (self.high - self.low)).clamp(0, 1)

    def from_unit(self, images: Tensor) -> Tensor:
        """Converts images in [0, 1] to a network's images."""
        return images if self == Pixels() else images * (self.high - self.low) + self.low


class Reading(nn.Module):
    """Maps images ``[B, C, H, W]`` in [0, 1] to logits ``[B, classes]`` of at least float32, by a network and a reading.

    The largest logit is that of the predicted class, unless rounding makes the logits of close activations equal.

    Args:
        name: one of `READINGS`.
        pixels: the pixel range of the network's images.
    """

    def __init__(self, network: nn.Module, name: str, pixels: Pixels | None = None) -> None:
        super().__init__()
        check_choice("name", name, tuple(READINGS))
        self.network, self.name, self.pixels = network, name, pixels or Pixels()

    def forward(self, images: Tensor) -> Tensor:
        return READINGS[self.name](at_least_float32(self.network(self.pixels.from_unit(images))))
