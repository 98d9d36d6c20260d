"""How an attacker reads a network: as logits, of which a capsule network offers several.

An attack follows the gradient of a loss of logits. A capsule network has none: its scores are activations in [0, 1], and
what an attack achieves hangs on the map from them to logits. All maps here are monotone, so that they change nothing of
what the network predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from capsbench.errors import check_choice
from capsbench.records.cell import Cell
from capsbench_kernels import at_least_float32

FLOOR = 1e-12
"""Added to what a logarithm is taken of: its gradient is at most 1e12, and an activation of exactly 0 or 1 has a finite logit."""

SCALE = 20.0
"""What activations are multiplied by in the reading ``scaled``: as logits, they tell classes apart by at most this much."""


def _share(activations: Tensor) -> Tensor:
    floored = activations + FLOOR
    return floored.log() - floored.sum(dim=1, keepdim=True).log()


def _logit(activations: Tensor) -> Tensor:
    return (activations + FLOOR).log() - (1 - activations + FLOOR).log()


CAPSULE_READINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "lengths": lambda activations: activations,
    "share": _share,
    "logit": _logit,
    "scaled": lambda activations: SCALE * activations,
}
"""Activations ``[B, classes]`` a in [0, 1] to logits: a, log(a / sum a), log(a / (1 - a)) and 20 a, with the `FLOOR`."""

READINGS: dict[str, Callable[[Tensor], Tensor]] = {**CAPSULE_READINGS, "logits": lambda logits: logits}
"""All readings; the scores of a CNN are logits already."""


def readings_of(cell: Cell) -> tuple[str, ...]:
    """The names of all readings of a cell's network; the first is its scores as they are."""
    return ("logits",) if cell.routing is None else tuple(CAPSULE_READINGS)


class Pixels(NamedTuple):
    """The range of the pixels that a network takes; attacks have them in [0, 1]."""

    low: float = 0.0
    high: float = 1.0

    @classmethod
    def of(cls, images: Tensor, *, standardised: bool) -> Pixels:
        """[0, 1], or of standardised images the range that all of them ``[N, C, H, W]`` lie in."""
        low, high = images.aminmax()
        return cls(float(low), float(high)) if standardised else cls()

    def to_unit(self, images: Tensor) -> Tensor:
        """Images as a network takes them to images in [0, 1]."""
        return images if self == Pixels() else ((images - self.low) / (self.high - self.low)).clamp(0, 1)

    def from_unit(self, images: Tensor) -> Tensor:
        """Images in [0, 1] to images as a network takes them."""
        return images if self == Pixels() else images * (self.high - self.low) + self.low


class Reading(nn.Module):
    """A network as an attacker reads it: images ``[B, C, H, W]`` in [0, 1] to logits ``[B, classes]``, at least float32.

    The greatest logit is that of the class that the network predicts, but for activations so near each other that the map
    rounds them to one number.

    Args:
        name: one of `READINGS`.
        pixels: of the images that the network takes.
    """

    def __init__(self, network: nn.Module, name: str, pixels: Pixels | None = None) -> None:
        super().__init__()
        check_choice("name", name, tuple(READINGS))
        self.network, self.name, self.pixels = network, name, pixels or Pixels()

    def forward(self, images: Tensor) -> Tensor:
        return READINGS[self.name](at_least_float32(self.network(self.pixels.from_unit(images))))
