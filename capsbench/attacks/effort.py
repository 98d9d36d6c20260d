"""The effort of attacks at each setting of a measure."""

from __future__ import annotations

from typing import NamedTuple

DRAW_SEED = 0
"""The seed that draws the attacked test images, equal for all cells."""


class Effort(NamedTuple):
    """The effort of attacks.

    - ``images``: number of test images
    - ``steps``: number of steps of an attack, each of size 2.5 epsilon / steps; None means those published for the data set
    - ``restarts``: number of restarts of projected gradient descent
    - ``queries``: number of queries of the black-box attack
    - ``rounds``: the largest number of doublings of steps and restarts
    - ``nearest``: number of images whose nearest adversarial image is searched for
    - ``every``: True to run attacks that rarely add to the others too, through all readings
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
"""Maps a measure's setting to its effort. ``light`` is the default; ``quick`` only tests that attacks work."""


ATTACKED = {setting: effort.images for setting, effort in EFFORTS.items()}
"""Maps a setting to the largest number of attacked test images."""


def count_tolerated(images: int) -> int:
    """Returns the number of images, out of ``images``, that a check tolerates: one in a hundred, at least one."""
    return max(1, images // 100)
