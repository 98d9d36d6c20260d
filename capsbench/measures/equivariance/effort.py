"""How many images are transformed, and how often."""

from __future__ import annotations

from typing import NamedTuple


class Effort(NamedTuple):
    """How many test images are taken at most, and how often the parameters of each are drawn."""

    images: int
    draws: int


EFFORTS = {"light": Effort(500, 4), "full": Effort(5000, 8), "quick": Effort(200, 1)}
"""Setting of the measure -> its effort."""
