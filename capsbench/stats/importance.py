"""How much a setting mattered among the trials of a random search."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from capsbench.stats.spaces import Value

FEWEST_TRIALS = 8
"""Fewer trials say nothing of what mattered."""


def explain_ranks(settings: Sequence[Value], performances: Sequence[float]) -> float:
    """Returns the share of the variance of performance ranks that a setting explains on its own: an adjusted R squared, 0 to 1.

    A number of many values is fitted by a parabola in its rank, since performance often has its best in the middle. The few
    values of a choice are fitted by their means. Ranks keep single failed or diverged trials from deciding it.

    Args:
        settings: a value a trial; settings of a random search are independent, so one alone can be looked at.
        performances: a number a trial; minus infinity for a failed one, which ranks last.

    Returns:
        nan for fewer than `FEWEST_TRIALS` trials, or if all are alike.
    """
    count = len(performances)
    if count < FEWEST_TRIALS or len(set(settings)) < 2:
        return math.nan
    ranks = pd.Series(performances, dtype=float).rank().to_numpy(copy=True)
    spread = float(((ranks - ranks.mean()) ** 2).sum())
    if spread == 0:
        return math.nan
    values = pd.Series(settings)
    if len(set(settings)) > count / 2:
        places = values.rank().to_numpy(copy=True)
        design = np.vander((places - places.mean()) / count, 3)
    else:
        design = pd.get_dummies(values.map(str)).to_numpy(dtype=float)
    fitted = design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
    freedom = count - design.shape[1]
    if freedom < 1:
        return math.nan
    unexplained = float(((ranks - fitted) ** 2).sum()) / freedom
    return max(0.0, 1 - unexplained / (spread / (count - 1)))
