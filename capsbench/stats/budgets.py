"""Budget curves: the performance of the best of k trials against k, with simultaneous confidence bands.

A trial is one setting, drawn at random, its training, and its performance on the validation images. The best of k independent
trials is at most y with the probability F(y)^k, F being the distribution function of one trial. So a band of F is a band of the
whole curve, for every k at once (Lourie, Cho and He 2024, "Show Your Work with Confidence"). Their package opda calls it a tuning
curve. The trials must be independent draws of one distribution: those of a sampler that learns from earlier trials are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from capsbench.errors import ArgumentError
from capsbench.stats.bands import MOST_DRAWS, find_band
from capsbench.stats.variances import ALPHA

MEDIAN = 0.5


class BudgetPoint(NamedTuple):
    """A quantile of the best performance of ``budget`` trials.

    Attributes:
        estimate: that of the observed distribution; nan from the budget on at which it is only the best performance observed.
        worse, better: the ends of the confidence band; the worst or the best possible performance where the trials set no limit.
    """

    budget: int
    estimate: float
    worse: float
    better: float


class BudgetCurve(NamedTuple):
    """The best performance of k trials against k.

    Attributes:
        trials: the number of trials that it is estimated from, failed ones included.
        reach: the largest budget at which the trials limit the performance on both sides; 0 if there is none. Beyond it, more
            trials may reach any performance, so nothing is claimed.
        points: one a budget.
        quantile: 0.5 for a curve of medians.
        level: the probability that the band misses the curve anywhere.
        higher_is_better: false for a loss.
    """

    trials: int
    reach: int
    points: tuple[BudgetPoint, ...]
    quantile: float
    level: float
    higher_is_better: bool


class Lead(NamedTuple):
    """The contenders that may lead at a budget.

    Attributes:
        budget: trials for each contender.
        leader: the contender whose band lies beyond those of all others; None if undecided.
        candidates: the contenders whose bands reach at least as far as the worse end of every other band, in the order given; the
            leader alone if it is decided.
        trials_needed: the fewest trials of each contender with which this budget can be decided at all; None if all have as
            many, or if it takes more than `MOST_DRAWS`.
    """

    budget: int
    leader: str | None
    candidates: tuple[str, ...]
    trials_needed: int | None


def estimate_budget_curve(
    performances: Sequence[float],
    budgets: Iterable[int] | None = None,
    *,
    worst: float = 0.0,
    best: float = 1.0,
    quantile: float = MEDIAN,
    level: float = ALPHA,
) -> BudgetCurve:
    """Estimates a quantile of the best performance of k trials, with a band that holds for all k at once.

    A failed trial used its budget, so it counts, with the worst performance. Ties, as among accuracies on counted images, make
    the band wider than its level asks for, never narrower (`capsbench.stats.bands.find_band`).

    Args:
        performances: one a trial, in any order, on the validation images; nan for a trial that failed.
        budgets: the k of the curve; None for all from 1 to the number of trials.
        worst, best: the limits of a performance: 0 and 1 for an accuracy, infinity and 0 for a loss.
        quantile: 0.5 for the median; 0.1 is what nine of ten searches of k trials exceed.
        level: the probability that the band misses the curve anywhere.

    Raises:
        ArgumentError: fewer than two trials, a performance beyond the limits, a budget below 1, or a quantile or level that
            is not between 0 and 1.
    """
    sign = 1.0 if best > worst else -1.0
    values = np.asarray(performances, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ArgumentError("performances", "one number a trial, of two trials or more", values.shape)
    values = np.sort(sign * np.where(np.isnan(values), worst, values))
    if values[0] < sign * worst or values[-1] > sign * best:
        raise ArgumentError("performances", f"numbers between {worst} and {best}", (sign * values).tolist())
    if not 0 < quantile < 1:
        raise ArgumentError("quantile", "a number between 0 and 1", quantile)
    trials = len(values)
    chosen = list(range(1, trials + 1) if budgets is None else budgets)
    if any(budget < 1 for budget in chosen):
        raise ArgumentError("budgets", "whole numbers from 1", chosen)

    band = find_band(trials, level)
    # Draw j of these is not exceeded with the probability j / n, at most `high[j]` and at least `low[j]`.
    draws = sign * np.concatenate([[sign * worst], values, [sign * best]])
    observed = np.arange(trials + 1) / trials
    points = []
    for budget in chosen:
        share = quantile ** (1 / budget)
        points.append(
            BudgetPoint(
                budget,
                estimate=float(draws[np.searchsorted(observed, share)]) if share <= observed[-2] else math.nan,
                worse=float(draws[np.searchsorted(band.high, share)]),
                better=float(draws[np.searchsorted(band.low, share)]),
            )
        )
    return BudgetCurve(trials, find_reach(trials, quantile, level), tuple(points), quantile, level, best > worst)


def find_reach(trials: int, quantile: float = MEDIAN, level: float = ALPHA) -> int:
    """Returns the largest budget at which a band from ``trials`` trials has an upper limit; 0 if there is none.

    The band leaves the probability ``1 - low[n]`` to performances beyond the best of n trials. So the quantile of the best of k
    trials is known to have been observed only if ``quantile ** (1 / k)`` is at most ``low[n]``. The limit depends on no
    performance. For the median at 95 % it is about a ninth of the trials.
    """
    largest = float(find_band(trials, level).low[-1])
    return math.floor(math.log(quantile) / math.log(largest) + 1e-9)


def count_trials_needed(budget: int, quantile: float = MEDIAN, level: float = ALPHA) -> int | None:
    """Returns the fewest trials whose curve reaches a budget; None if more than `MOST_DRAWS` are needed."""
    share = math.log(quantile) / budget
    # The best of n trials has the bound `single ** (1 / n)`; the level `single` is between `level / n` and `level`.
    fewest = max(2, math.ceil(math.log(level) / share))
    most = next((n for n in range(fewest, MOST_DRAWS) if math.log(level / n) >= n * share), MOST_DRAWS)
    if fewest > MOST_DRAWS or find_reach(most, quantile, level) < budget:
        return None
    while fewest < most:
        middle = (fewest + most) // 2
        fewest, most = (fewest, middle) if find_reach(middle, quantile, level) >= budget else (middle + 1, most)
    return most


def find_leads(curves: Mapping[str, BudgetCurve]) -> list[Lead]:
    """Decides at each budget which contender leads: one whose band is disjoint from, and better than, those of all others.

    Of up to 8 contenders with 10 to 200 trials each, a contender that is not the best is named as the leader at a budget with a
    probability of at most 5 %, by bands of 95 % (docs/tuned-comparisons.md). No budget beyond the reach of a curve is decided
    against it, since its band then extends to the best possible performance.

    Args:
        curves: contender -> its curve, two or more, of the same budgets, quantile, level and direction.

    Raises:
        ArgumentError: fewer than two curves, or curves that differ in these.
    """
    kinds = {
        (tuple(point.budget for point in curve.points), curve.quantile, curve.level, curve.higher_is_better)
        for curve in curves.values()
    }
    if len(curves) < 2 or len(kinds) > 1:
        raise ArgumentError("curves", "two or more, of the same budgets, quantile, level and direction", list(curves))
    ((budgets, quantile, level, higher_is_better),) = kinds
    sign = 1 if higher_is_better else -1
    trials = min(curve.trials for curve in curves.values())
    leads = []
    for place, budget in enumerate(budgets):
        points = {name: curve.points[place] for name, curve in curves.items()}
        limit = max(sign * point.worse for point in points.values())
        candidates = tuple(name for name, point in points.items() if sign * point.better >= limit)
        needed = count_trials_needed(budget, quantile, level)
        leads.append(
            Lead(
                budget,
                candidates[0] if len(candidates) == 1 else None,
                candidates,
                needed if needed is not None and needed > trials else None,
            )
        )
    return leads
