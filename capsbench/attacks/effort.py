"""How hard attacks try at each setting of a measure."""

from __future__ import annotations

from typing import NamedTuple

DRAW_SEED = 0
"""Draws the test images that are attacked: the same ones for all cells."""


class Effort(NamedTuple):
    """How hard attacks try.

    - ``images``: of the test set
    - ``steps`` of an attack, each of 2.5 epsilon / steps; None: the published ones of the data set
    - ``restarts`` of projected gradient descent
    - ``queries`` of the black-box attack
    - ``rounds``: how often steps and restarts are doubled at most
    - ``nearest``: images of which the nearest adversarial image is looked for
    - ``every``: whether attacks that seldom add to the others are made too, and through all readings
    """

    images: int
    steps: int | None
    restarts: int
    queries: int
    rounds: int
    nearest: int
    every: bool


EFFORTS = {
    "light": Effort(images=100, steps=10, restarts=1, queries=100, rounds=2, nearest=0, every=False),
    "full": Effort(images=1000, steps=None, restarts=5, queries=5000, rounds=3, nearest=100, every=True),
    "quick": Effort(images=40, steps=4, restarts=1, queries=20, rounds=1, nearest=0, every=False),
}
"""Setting of a measure -> its effort: by default ``light``; ``quick`` finds what is broken, and is no number to publish."""


ATTACKED = {setting: effort.images for setting, effort in EFFORTS.items()}
"""Setting -> test images attacked at most."""


def tolerance(images: int) -> int:
    """Images of so many that a check lets pass: one in a hundred, and one at least."""
    return max(1, images // 100)
