"""What is said of a difference among many: whether it is one, an interval that agrees, and how many seeds would show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from capsbench.stats.differences import ALPHA, FEWEST_SEEDS, Difference, holm

MOST_SEEDS = 100
"""Seeds up to which it is looked for how many would show a difference."""


class Outcome(StrEnum):
    """What a test says of a difference."""

    DIFFERENT = "different"
    NOT_SIGNIFICANT = "not significant"
    NOT_TESTED = "not tested"


class Verdict(NamedTuple):
    """A difference of a family of comparisons, and what is said of it.

    Attributes:
        difference: one number less another.
        level: of its test and its interval: that of the family, divided among its comparisons.
        p: adjusted for the family; nan where it was not tested.
        outcome: whether p is below `ALPHA`, which is so where the interval is clear of 0.
        seeds_needed: the least seeds that would show this difference with this spread at this level; None where it is one, where
            it was not tested, and where `MOST_SEEDS` would not do.
    """

    difference: Difference
    level: float
    p: float
    outcome: Outcome
    seeds_needed: int | None

    @property
    def half(self) -> float:
        """Half-width of the interval at the family's level; nan of one seed, whose interval is not about networks alike."""
        return self.difference.half_at(self.level) if self.difference.seeds > 1 else math.nan

    def reversed(self) -> Verdict:
        """The verdict on the other number less the one."""
        return self._replace(difference=self.difference._replace(mean=-self.difference.mean))


def judge_by_holm(differences: Sequence[Difference]) -> list[Verdict]:
    """The verdicts on all differences of a family, by Holm's method (1979).

    Each interval is at the level of the step that decides on its difference: Bonferroni's among those that are left. So it is
    clear of 0 exactly where the difference is one.
    """
    tested = [_is_tested(each) for each in differences]
    adjusted = holm([each.p if known else math.nan for each, known in zip(differences, tested, strict=True)])
    shown = int(np.count_nonzero(adjusted < ALPHA))
    ranks = np.argsort(
        np.argsort([each.p if known else math.inf for each, known in zip(differences, tested, strict=True)])
    )
    family = max(1, sum(tested))
    return [
        _verdict(each, ALPHA / max(1, family - min(int(rank), shown)), float(p))
        for each, rank, p in zip(differences, ranks, adjusted, strict=True)
    ]


def judge_by_bonferroni(difference: Difference, comparisons: int) -> Verdict:
    """The verdict on one difference of a family of so many comparisons, of which not all have to be made."""
    p = min(1.0, difference.p * comparisons) if _is_tested(difference) else math.nan
    return _verdict(difference, ALPHA / comparisons, p)


def _is_tested(difference: Difference) -> bool:
    return difference.seeds >= FEWEST_SEEDS and not math.isnan(difference.p)


def _verdict(difference: Difference, level: float, p: float) -> Verdict:
    if math.isnan(p):
        return Verdict(difference, level, p, Outcome.NOT_TESTED, None)
    if p < ALPHA:
        return Verdict(difference, level, p, Outcome.DIFFERENT, None)
    return Verdict(difference, level, p, Outcome.NOT_SIGNIFICANT, _find_seeds(difference, level))


def _find_seeds(difference: Difference, level: float) -> int | None:
    """The least seeds at which the difference and its spread would be significant at a level, up to `MOST_SEEDS`."""
    if not difference.variances:
        return None
    enough = (
        seeds
        for seeds in range(difference.seeds + 1, MOST_SEEDS + 1)
        if difference.with_seeds(seeds).half_at(level) < abs(difference.mean)
    )
    return next(enough, None)
