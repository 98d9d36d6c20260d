"""Comparisons whose seeds were added until they were decided: the group-sequential test of `capsbench.stats.sequential`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from capsbench.records.record import Run
from capsbench.stats.differences import Difference
from capsbench.stats.sequential import LOOKS, SequentialVerdict, judge_sequence

PairName = frozenset[str]
"""Two contenders in any order."""


def find_sequences(runs: Iterable[Run]) -> set[PairName]:
    """Returns the pairs of contenders whose comparison decided how many seeds some runs had."""
    return {frozenset(run.decides) for run in runs if len(set(run.decides)) == 2}


def describe_sequences(runs: Iterable[Run], labels: Mapping[str, str]) -> list[str]:
    """Returns a line for each pair whose seeds were added until it was decided.

    Args:
        labels: contender -> its name; pairs of others are left out.
    """
    known = [sorted(pair) for pair in find_sequences(runs) if pair <= labels.keys()]
    return [
        f"{labels[one]} and {labels[other]}: seeds were added until their difference in test accuracy was decided; it has the "
        "verdict of the group-sequential test, at the look at which that stopped"
        for one, other in sorted(known, key=lambda pair: labels[pair[0]])
    ]


def judge_seeds(
    compare: Callable[[Mapping[int, str], Mapping[int, str]], Difference],
    one: Mapping[int, str],
    other: Mapping[int, str],
) -> SequentialVerdict:
    """Judges two contenders by the looks that their common seeds allow.

    Args:
        compare: the cells of two contenders by seed -> the difference, one minus the other.
        one, other: seed -> cell, of each contender. The first look is at the lowest seeds.
    """
    seeds = sorted(one.keys() & other.keys())

    def compare_first(count: int) -> Difference:
        return compare(*({seed: cells[seed] for seed in seeds[:count]} for cells in (one, other)))

    return judge_sequence(compare_first, min(len(seeds), LOOKS[-1]))
