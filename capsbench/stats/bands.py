"""Simultaneous confidence bands of a distribution function, from independent draws.

The band is that of Learned-Miller and DeStefano (2008, "A Probabilistic Upper Bound on Differential Entropy") with intervals of
highest density, which Lourie, Cho and He (2024, "Show Your Work with Confidence") recommend: it is narrow in the tails, where the
best of several draws lies. The distribution function at the i-th smallest of n draws is Beta(i, n + 1 - i) distributed, so it has
a shortest interval of any coverage. The coverage of each interval is the least at which all intervals hold together with the
confidence of the band. opda, the authors' package, simulates it; here it is computed.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from capsbench.errors import ArgumentError
from capsbench.stats.variances import ALPHA

MOST_DRAWS = 400
"""The most draws of a band: the time to compute it grows as the cube of their number."""

PRECISION = 1e-13
"""The error of a bound."""

MOST_STEPS = 60
"""The most steps of a search; halving an interval that often is beyond the precision of float64."""


class Band(NamedTuple):
    """Bounds of a distribution function F that hold together with a confidence, by how many draws are at most x.

    Attributes:
        low: ``[n + 1]``; if j of n draws are at most x, F(x) is at least ``low[j]``.
        high: ``[n + 1]``; and at most ``high[j]``.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]


@cache
def find_band(draws: int, level: float = ALPHA) -> Band:
    """Returns the band of a distribution function, given a number of independent draws.

    The confidence is exact for a continuous distribution. It is higher for a discrete one, such as that of accuracies on counted
    images: draws of it are draws of a continuous distribution after rounding, and rounding merges bounds and moves none.

    Args:
        draws: n, from 2 to `MOST_DRAWS`.
        level: the probability that the band misses F anywhere, 0.05 for a confidence of 95 %.

    Raises:
        ArgumentError: too few draws or too many, or a level that is not between 0 and 1.
    """
    if not 2 <= draws <= MOST_DRAWS:
        raise ArgumentError("draws", f"a number from 2 to {MOST_DRAWS}", draws)
    if not 0 < level < 1:
        raise ArgumentError("level", "a number between 0 and 1", level)

    def miss(single: float) -> float:
        """Returns by how much intervals of the level exp(single) each miss together too often."""
        return 1 - chance_of_holding(*find_shortest_intervals(draws, -math.expm1(single))) - level

    # The level of a single interval lies between that of the band and Bonferroni's.
    single = optimize.brentq(miss, math.log(level / draws / 2), math.log(level), xtol=PRECISION)
    low, high = find_shortest_intervals(draws, -math.expm1(single))
    # Between two draws F is at least its bound at the lower one, and at most its bound at the upper one.
    band = Band(np.concatenate([[0.0], low]), np.concatenate([high, [1.0]]))
    for bounds in band:
        bounds.flags.writeable = False  # the cache hands out the same arrays
    return band


def find_shortest_intervals(draws: int, coverage: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the shortest intervals with a coverage, of Beta(i, n + 1 - i) for i = 1 to n; each end is ``[n]``.

    The density is equal at both ends, unless the mode is 0 or 1: then one end is the mode.
    """
    # The intervals of the upper half mirror those of the lower half.
    first = np.arange(1.0, (draws + 3) // 2)
    second = draws + 1 - first
    mode = (first - 1) / (draws - 1)
    # The lower end is below the mode, and has at least `coverage` of the probability above it.
    below_mode = np.maximum(special.betainc(first, second, mode) - coverage, 0)
    lowest = special.betaincinv(first, second, below_mode)
    highest = np.minimum(mode, special.betaincinv(first, second, 1 - coverage))
    low = (lowest + highest) / 2
    for _ in range(MOST_STEPS):
        high = _find_upper_ends(first, second, low, coverage, mode)
        with np.errstate(divide="ignore", invalid="ignore"):
            rise = _log_density(first, second, low) - _log_density(first, second, high)
            slope = _log_slope(first, second, low) - _log_slope(first, second, high) * np.exp(rise)
            newton = low - rise / slope
        lowest, highest = np.where(rise <= 0, low, lowest), np.where(rise <= 0, highest, low)
        inside = (newton > lowest) & (newton < highest)
        before, low = low, np.where(inside, newton, (lowest + highest) / 2)
        if np.abs(low - before).max() < PRECISION:
            break
    high = _find_upper_ends(first, second, low, coverage, mode)
    rest = draws // 2
    return np.concatenate([low, 1 - high[:rest][::-1]]), np.concatenate([high, 1 - low[:rest][::-1]])


def chance_of_holding(low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """Returns the probability that each of n ordered uniform draws lies between its bounds.

    The number of draws below x is followed as x passes all bounds. It is a Poisson process of rate n on the condition that it
    ends at n, and each bound limits it: at least i draws are below the upper bound of the i-th, fewer than i below its lower one
    (Moscovich and Nadler 2017, "Fast calculation of boundary crossing probabilities for Poisson processes", section 2).

    Args:
        low, high: ``[n]``, each ascending.
    """
    draws = len(low)
    counts = np.arange(draws + 1)
    events = sorted([(float(x), 0, i) for i, x in enumerate(low)] + [(float(x), 1, i) for i, x in enumerate(high)])
    chances = (counts == 0).astype(float)
    last = 0.0
    for x, is_upper, index in [*events, (1.0, 1, draws - 1)]:
        if x > last:
            chances = np.convolve(chances, _poisson(counts, draws * (x - last)))[: draws + 1]
            last = x
        chances[counts <= index if is_upper else counts > index] = 0
    return float(chances[draws] / _poisson(counts[-1:], float(draws))[0])


def _poisson(counts: NDArray[np.int64], mean: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(special.xlogy(counts, mean) - mean - special.gammaln(counts + 1)))


def _log_density(
    first: NDArray[np.float64], second: NDArray[np.float64], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the logarithm of the density of Beta(first, second) at x, up to a constant."""
    return np.asarray(special.xlogy(first - 1, x) + special.xlog1py(second - 1, -x))


def _log_slope(first: NDArray[np.float64], second: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the derivative of the logarithm of the density."""
    return np.asarray((first - 1) / x - (second - 1) / (1 - x))


def _find_upper_ends(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    low: NDArray[np.float64],
    coverage: float,
    mode: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Returns the upper ends of intervals that begin at ``low``; rounding never moves them below the mode."""
    below = np.minimum(special.betainc(first, second, low) + coverage, 1)
    return np.clip(special.betaincinv(first, second, below), mode, 1)
