"""Attacks on networks: how their output is read, within what bounds, and the one adapter through which attacks run."""

from capsbench.attacks.adapter import Attack, Attacked, attacked, perturbed
from capsbench.attacks.readings import Pixels, Reading, readings_of
from capsbench.attacks.threats import Bounds, Threat, bounds_of

__all__ = [
    "Attack",
    "Attacked",
    "Bounds",
    "Pixels",
    "Reading",
    "Threat",
    "attacked",
    "bounds_of",
    "perturbed",
    "readings_of",
]
