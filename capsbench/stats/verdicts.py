"""Verdicts on differences of a family: significance, a consistent interval, and the seeds that significance needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from capsbench.stats.differences import ALPHA, FEWEST_SEEDS, Difference, adjust_by_holm
from capsbench.stats.power import plan_seeds


class Outcome(StrEnum):
    """The result of a test of a difference."""

    DIFFERENT = "different"
    NOT_SIGNIFICANT = "not significant"
    NOT_TESTED = "not tested"


class Verdict(NamedTuple):
    """A difference of a family of comparisons, and the result of its test.

    Attributes:
        difference: one number minus another.
        level: the significance level of its test and interval: the family's level, divided among its comparisons.
        p: the p-value, adjusted for the family; nan if the difference was not tested.
        outcome: different if p is below `ALPHA`; the interval then excludes 0.
        seeds_needed: the fewest seeds that would show a difference of this size and spread (`capsbench.stats.power.plan_seeds`);
            None if it is significant already, was not tested, or needs more than `MOST_SEEDS`.
        images_needed: where so many seeds are not enough, the test images to add with which they are; else None.
    """

    difference: Difference
    level: float
    p: float
    outcome: Outcome
    seeds_needed: int | None = None
    images_needed: int | None = None

    @property
    def half(self) -> float:
        """Half-width of the interval at `level`; nan for one seed, whose interval is about two networks, not their training."""
        return self.difference.half_at(self.level) if self.difference.seeds > 1 else math.nan

    def swap_sides(self) -> Verdict:
        """Returns the verdict on the other number minus this one."""
        return self._replace(difference=self.difference._replace(mean=-self.difference.mean))


def judge_by_holm(differences: Sequence[Difference]) -> list[Verdict]:
    """Judges all differences of a family by Holm's method (1979).

    Each interval has the level of the step that decides on its difference: Bonferroni's for the comparisons that remain. So the
    interval excludes 0 exactly if the difference is significant.
    """
    p_values = np.array([difference.p if _is_tested(difference) else math.nan for difference in differences])
    adjusted = adjust_by_holm(p_values)
    significant = int(np.count_nonzero(adjusted < ALPHA))
    ranks = np.argsort(np.argsort(p_values))  # nan last
    comparisons = max(1, int(np.count_nonzero(~np.isnan(p_values))))
    # Holm's method stops at the first p-value that is not significant: all that follow share the level of that step.
    return [
        _judge_difference(difference, ALPHA / max(1, comparisons - min(int(rank), significant)), float(p))
        for difference, rank, p in zip(differences, ranks, adjusted, strict=True)
    ]


def judge_by_bonferroni(difference: Difference, comparisons: int) -> Verdict:
    """Judges one difference of a family of ``comparisons`` by Bonferroni's method, which needs no other p-value."""
    p = min(1.0, difference.p * comparisons) if _is_tested(difference) else math.nan
    return _judge_difference(difference, ALPHA / comparisons, p)


def _is_tested(difference: Difference) -> bool:
    return difference.seeds >= FEWEST_SEEDS and not math.isnan(difference.p)


def _judge_difference(difference: Difference, level: float, p: float) -> Verdict:
    if math.isnan(p):
        return Verdict(difference, level, p, Outcome.NOT_TESTED)
    if p < ALPHA:
        return Verdict(difference, level, p, Outcome.DIFFERENT)
    plan = plan_seeds(difference, level=level)
    return Verdict(difference, level, p, Outcome.NOT_SIGNIFICANT, plan.seeds, plan.more_images)
