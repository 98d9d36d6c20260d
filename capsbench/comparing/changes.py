"""Numbers of a contender that differ between two folders, and the tests of their differences."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import numpy as np
import pandas as pd

from capsbench.comparing.obstacles import TIMES_AND_MEMORY
from capsbench.comparing.side import Contender, Number, NumbersBySeed
from capsbench.measures.accuracy.spec import TEST_ACCURACY
from capsbench.presenting.paired import Pairs
from capsbench.presenting.steps import Steps
from capsbench.registry import measure_name
from capsbench.stats.differences import (
    ALPHA,
    FEWEST_SEEDS,
    Difference,
    adjust_by_holm,
    compare_unpaired_seeds,
    paired_seeds,
)

CHANGE_COLUMNS = [
    "contender", "title", "measure", "metric", "condition", "level", "unit", "timed", "a", "b", "difference", "half",
    "seeds_a", "seeds_b", "failed_a", "failed_b", "test", "p", "p_holm", "holds",
]  # fmt: skip

BySeed = dict[int, float]
"""Seed -> a number."""


class Change(NamedTuple):
    """A number that differs between the sides: its means over seeds, their difference (B - A), and the test.

    ``test`` is ``images`` (paired image by image and, of several seeds, seed by seed), ``seeds`` (paired seed by seed),
    ``unpaired`` (no seed in common), or ``none`` if there are too few seeds for a test. ``failed_a`` and ``failed_b`` count the
    seeds of the contender that failed.
    """

    contender: str
    title: str
    number: Number
    a: float
    b: float
    difference: Difference
    seeds_a: int
    seeds_b: int
    failed_a: int
    failed_b: int
    test: str


@dataclass(frozen=True)
class ChangeFinder:
    """Finds the changed numbers of contenders.

    Attributes:
        cells: identity of a cell -> title, as `capsbench.comparing.side.collect_numbers` takes it.
        pairs: tests of accuracies image by image.
        steps: the steps of the numbers of both sides.
        unrepeatable: (measure, metric) of times and memory.
    """

    cells: Mapping[str, str]
    pairs: Pairs
    steps: Steps
    unrepeatable: Collection[tuple[str, str]]

    def find_changes(
        self,
        title: str,
        contenders: tuple[Contender, Contender],
        numbers: tuple[NumbersBySeed, NumbersBySeed],
        left_out: Collection[str],
        failed: tuple[int, int],
    ) -> Iterator[Change]:
        """Yields each number that both contenders have and that differs.

        Args:
            title: the contender's.
            numbers: of the contender on either side.
            left_out: measures that are not compared (`capsbench.comparing.obstacles.Obstacle`).
            failed: failed seeds on either side.
        """
        ones, others = numbers
        identity = contenders[0].cell.contender
        for number in dict.fromkeys(number for values in ones.values() for number in values):
            if number.measure in left_out or (self._is_timed(number) and TIMES_AND_MEMORY in left_out):
                continue
            first, second = _select_seeds(ones, others, number)
            is_paired = first.keys() == second.keys()
            if not second or first == second or (not is_paired and _have_same_values(first, second)):
                continue
            difference, test = self._test_difference(number, contenders, first, second, is_paired)
            means = fmean(first.values()), fmean(second.values())
            yield Change(identity, title, number, *means, difference, len(first), len(second), *failed, test)

    def to_table(self, changes: Sequence[Change]) -> pd.DataFrame:
        """Returns a table of `CHANGE_COLUMNS`; times and memory have a Holm adjustment of their own."""
        timed = [self._is_timed(change.number) for change in changes]
        adjusted = np.full(len(changes), math.nan)
        for family in (True, False):  # a busy machine says nothing about accuracies
            places = [place for place, is_timed in enumerate(timed) if is_timed is family]
            adjusted[places] = adjust_by_holm([changes[place].difference.p for place in places])
        rows = [_to_row(*facts) for facts in zip(changes, timed, adjusted, strict=True)]
        return pd.DataFrame(rows, columns=CHANGE_COLUMNS)

    def _is_timed(self, number: Number) -> bool:
        return number[:2] in self.unrepeatable

    def _test_difference(
        self, number: Number, contenders: tuple[Contender, Contender], first: BySeed, second: BySeed, is_paired: bool
    ) -> tuple[Difference, str]:
        """Returns the difference of the means, and which test it has."""
        dataset, measure = contenders[0].cell.dataset, measure_name(number.measure)
        step = self.steps.of(dataset, measure, number.metric, number.condition, number.unit)
        if not is_paired:
            difference, test = compare_unpaired_seeds([*second.values()], [*first.values()], step), "unpaired"
        elif number[:3] == TEST_ACCURACY:
            names = [
                {seed: f"{side} {contender.records[seed].cell.id}" for seed in first}
                for side, contender in zip("AB", contenders, strict=True)
            ]
            accuracies = {names[0][seed]: value for seed, value in first.items()}
            accuracies |= {names[1][seed]: value for seed, value in second.items()}
            difference = self.pairs.difference(names[1], names[0], accuracies, step)
            test = "images" if difference.images else "seeds"
        else:
            values = [second[seed] for seed in first], [*first.values()]
            difference, test = paired_seeds(*values, step), "seeds"
        return difference, "none" if math.isnan(difference.p) else test


def _select_seeds(ones: NumbersBySeed, others: NumbersBySeed, number: Number) -> tuple[BySeed, BySeed]:
    """Returns a number by seed on either side: of the common seeds that have it, or of all seeds if there are none."""
    first, second = (
        {seed: values[number] for seed, values in side.items() if number in values} for side in (ones, others)
    )
    common = sorted(first.keys() & second.keys())
    if not common:
        return first, second
    return {seed: first[seed] for seed in common}, {seed: second[seed] for seed in common}


def _have_same_values(first: BySeed, second: BySeed) -> bool:
    """Returns true for other seeds with the same values, or with one value throughout, such as a number of parameters."""
    values = [*first.values()], [*second.values()]
    return sorted(values[0]) == sorted(values[1]) or len({*values[0], *values[1]}) == 1


def _to_row(change: Change, is_timed: bool, p: float) -> dict[str, object]:
    is_tested_enough = min(change.seeds_a, change.seeds_b) >= FEWEST_SEEDS or change.test == "images"
    return {
        **change._asdict(),
        **change.number._asdict(),
        "timed": is_timed,
        "difference": change.difference.mean,
        "half": change.difference.half,
        "p": change.difference.p,
        "p_holm": p,
        "holds": bool(p < ALPHA) and is_tested_enough,
    }
