"""The choice of winners, by validation performance alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Winner(NamedTuple):
    """The trial with the best validation performance of a study, and that performance; higher is better."""

    trial: int
    validation: float


def select_winner(performances: Sequence[float]) -> Winner | None:
    """Returns the best trial, of equal ones the first; None if all failed.

    Args:
        performances: validation performance of each trial in order.
    """
    best = max(range(len(performances)), key=lambda trial: performances[trial])
    return Winner(best, performances[best]) if math.isfinite(performances[best]) else None
