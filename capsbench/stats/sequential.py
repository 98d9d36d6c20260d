"""A group-sequential test: looks at a difference after some seeds, and stops as soon as it is decided.

Testing again after each seed at 5 % finds a difference between equal contenders in far more than 5 % of cases. Here the looks are
fixed beforehand, and each has its own, smaller level. The levels spend the 5 % over the looks by Lan and DeMets's function of
O'Brien and Fleming's kind (1983, "Discrete sequential boundaries for clinical trials"): early looks ask for overwhelming
evidence, and the last one for little more than a test without looks.

The usual tables are for a known variance. A paired t-test of three seeds has a variance of two degrees of freedom, so the levels
are simulated with the suite's own test over seeds, `simulate_levels`. Its test image by image is more conservative, and its
results at several looks have more in common, so the same levels hold (tests/stats/test_sequential_sizes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from scipy import special

from capsbench.errors import ArgumentError
from capsbench.stats.differences import FEWEST_SEEDS, Difference
from capsbench.stats.variances import ALPHA, variance_of_seeds

LOOKS = (3, 5, 8, 12, 20)
"""The numbers of seeds at which the difference is tested; the last one is the ceiling."""

LEVELS = (1.43e-08, 1.35e-05, 7.75e-04, 7.08e-03, 0.0464)
"""The significance level of each look: ``simulate_levels(LOOKS)``, rounded down to three digits."""

AT_ONCE = 200_000
"""Sequences that are simulated at once."""


class Progress(StrEnum):
    """The result of a group-sequential test so far."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "undecided"  # at the ceiling: no difference was shown, which does not mean that there is none
    CONTINUE = "continue"  # more seeds may decide it


class SequentialVerdict(NamedTuple):
    """The result of a group-sequential test.

    Attributes:
        progress: better, worse, undecided at the ceiling, or to be continued.
        seeds: the look that decided, or the last look so far; 0 before the first.
        difference: the difference at that look; None before the first. If a look stopped the test early, its mean is
            further from 0 than the true difference on average, since only large differences stop it.
        level: the level of that look; nan before the first. ``difference.half_at(level)`` is the half-width of an interval that
            excludes 0 exactly if the difference is decided; the intervals of all looks hold together with 95 % (Jennison and
            Turnbull 1989, "Interim analyses: the repeated confidence interval approach").
        next_seeds: the seeds of the next look; None if no look is to come.
    """

    progress: Progress
    seeds: int
    difference: Difference | None
    level: float
    next_seeds: int | None


def judge_sequence(
    compare: Callable[[int], Difference], seeds: int, *, higher_is_better: bool = True
) -> SequentialVerdict:
    """Judges one comparison, named beforehand, at every look up to a number of seeds, and stops at the first that decides.

    Looks are made again from the first, so the verdict is that of the run that added the seeds, whatever was added since.

    Args:
        compare: the number of seeds -> the difference over the first so many seeds that both contenders have, in the order in
            which they were trained.
        seeds: the seeds that both have. Those between two looks do not count yet.
        higher_is_better: false for a loss.

    Raises:
        ArgumentError: ``compare`` returns a difference over another number of seeds.
    """
    verdict = SequentialVerdict(Progress.CONTINUE, 0, None, float("nan"), LOOKS[0])
    for place, (look, level) in enumerate(zip(LOOKS, LEVELS, strict=True)):
        if look > seeds:
            break
        difference = compare(look)
        if difference.seeds != look:
            raise ArgumentError("compare", f"a difference over {look} seeds", difference.seeds)
        if difference.p < level:
            is_better = (difference.mean > 0) == higher_is_better
            return SequentialVerdict(Progress.BETTER if is_better else Progress.WORSE, look, difference, level, None)
        coming = LOOKS[place + 1 :]
        verdict = SequentialVerdict(
            Progress.CONTINUE if coming else Progress.UNDECIDED, look, difference, level, next(iter(coming), None)
        )
    return verdict


def spend_level(fraction: float, level: float = ALPHA) -> float:
    """Returns how much of a two-sided level is spent when a fraction of the seeds is there.

    Each side spends half of the level by Lan and DeMets's first function (1983): 2 - 2 Phi(z / sqrt(fraction)), z being the
    critical value of a normal distribution that a quarter of the level exceeds.
    """
    return float(4 * special.ndtr(special.ndtri(level / 4) / fraction**0.5))


def simulate_levels(
    looks: Sequence[int], level: float = ALPHA, sequences: int = 8_000_000, seed: int = 0
) -> tuple[float, ...]:
    """Simulates the level of each look, such that a paired t-test over seeds spends the level as `spend_level` says.

    The differences of the seeds are normal, with a mean of 0. Of the sequences that no earlier look stopped, each look stops the
    ones of the largest t, as many as it may. The first look spends its share exactly, since its test is a t-test.

    Args:
        looks: the numbers of seeds, ascending, each `FEWEST_SEEDS` or more.
        level: of all looks together.
        sequences: the relative error of a look's level is about the square root of 1 over the sequences that it stops.

    Raises:
        ArgumentError: the looks are not ascending, or begin with too few seeds.
    """
    if not looks or looks[0] < FEWEST_SEEDS or list(looks) != sorted(set(looks)):
        raise ArgumentError("looks", f"ascending numbers of seeds from {FEWEST_SEEDS}", tuple(looks))
    draw = np.random.default_rng(seed)
    parts = []
    for start in range(0, sequences, AT_ONCE):
        differences = draw.standard_normal((min(AT_ONCE, sequences - start), looks[-1]))
        by_look = []
        for look in looks:
            variance = variance_of_seeds(differences[:, :look], step=0.0, rounded=0)
            by_look.append(np.abs(differences[:, :look].mean(axis=1)) / np.sqrt(variance.value))
        parts.append(np.stack(by_look, axis=1).astype(np.float32))
    statistics = np.concatenate(parts)
    critical = [-float(special.stdtrit(looks[0] - 1, spend_level(looks[0] / looks[-1], level) / 2))]
    stopped = statistics[:, 0] > critical[0]
    for place, look in enumerate(looks[1:], start=1):
        left = np.sort(statistics[~stopped, place])
        stops = round(sequences * spend_level(look / looks[-1], level)) - int(stopped.sum())
        critical.append(float(left[-max(stops, 1)]))
        stopped |= statistics[:, place] >= critical[-1]
    return tuple(2 * float(special.stdtr(look - 1, -t)) for look, t in zip(looks, critical, strict=True))
