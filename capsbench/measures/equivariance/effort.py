"""The number of images that are transformed, and of draws."""

from __future__ import annotations

from typing import NamedTuple


class Effort(NamedTuple):
    """The most test images, and the number of draws of each one's parameters."""

    images: int
    draws: int


EFFORTS = {"light": Effort(500, 4), "full": Effort(5000, 8), "quick": Effort(200, 1)}
"""Setting of the measure -> its effort."""
