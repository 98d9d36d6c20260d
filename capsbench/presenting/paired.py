"""Differences in test accuracy between contenders: image by image if predictions are on record, else seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from capsbench.errors import ArgumentError
from capsbench.measures.accuracy.spec import ACCURACY
from capsbench.records.artifacts import are_correct
from capsbench.records.record import Run
from capsbench.stats.differences import Difference, compare_accuracies, paired_seeds
from capsbench.stats.sequential import LOOKS, SequentialVerdict, judge_sequence
from capsbench.stats.studies import compare_tuned_accuracies

Kept = Callable[[str, str], dict[str, NDArray[Any]]]
"""(measure, cell) -> the arrays that the measure kept of that cell: `capsbench.records.store.Store.kept`."""


def nothing_kept(measure: str, cell: str) -> dict[str, NDArray[Any]]:
    """Returns the arrays of records whose measures kept nothing: none."""
    return {}


class _Correct(NamedTuple):
    """The labels of the test images as bytes, and correct predictions ``[seeds, networks of a seed, images]``."""

    labels: bytes
    correct: NDArray[np.bool_]

    def is_like(self, other: _Correct) -> bool:
        return self.labels == other.labels and self.correct.shape == other.correct.shape


class Pairs:
    """The differences in test accuracy, image by image if predictions are on record.

    Args:
        kept: where they are.
        members: cell of a study of a tuned contender -> the cells of its networks, in order of their seeds.
    """

    def __init__(self, kept: Kept, members: Mapping[str, Sequence[str]] = MappingProxyType({})) -> None:
        self._kept = kept
        self._members = members
        self._right = cache(self._read_correct)

    def difference(
        self,
        one: Mapping[int, str],
        other: Mapping[int, str],
        accuracy: Mapping[str, float],
        step: float | None = None,
    ) -> Difference:
        """Returns the accuracy of one contender minus another's, over the seeds that both have.

        Args:
            one, other: seed -> cell.
            accuracy: cell -> test accuracy, for cells without predictions on record.
            step: of those accuracies, as in `paired_seeds`.

        Raises:
            ArgumentError: they have no seed in common.
        """
        seeds = sorted(one.keys() & other.keys())
        if not seeds:
            raise ArgumentError("one, other", "two contenders with a seed in common", (sorted(one), sorted(other)))
        ones, others = (self._stack_correct(cells, seeds) for cells in (one, other))
        is_tuned = bool(self._members.keys() & {*one.values(), *other.values()})
        # The networks of a single study say nothing of what another search would have found.
        if ones is not None and others is not None and ones.is_like(others) and not (is_tuned and len(seeds) == 1):
            if is_tuned:
                return compare_tuned_accuracies(ones.correct, others.correct)
            return compare_accuracies(ones.correct[:, 0], others.correct[:, 0])
        numbers = [[accuracy[cells[seed]] for seed in seeds] for cells in (one, other)]
        return paired_seeds(numbers[0], numbers[1], step)

    def _stack_correct(self, cells: Mapping[int, str], seeds: Sequence[int]) -> _Correct | None:
        """Returns the correct predictions of a contender; None if some are not on record, or not of the same images.

        Args:
            cells: seed -> cell, or study -> cell of a study, which has several networks.
        """
        networks = [self._members.get(cells[seed], (cells[seed],)) for seed in seeds]
        images = [[self._right(network) for network in of_seed] for of_seed in networks]
        known = [[image for image in of_seed if image is not None] for of_seed in images]
        labels = {image[0] for of_seed in known for image in of_seed}
        counts = {len(of_seed) for of_seed in known}
        if any(image is None for of_seed in images for image in of_seed) or len(labels) != 1 or len(counts) != 1:
            return None
        return _Correct(labels.pop(), np.array([[image[1] for image in of_seed] for of_seed in known]))

    def _read_correct(self, cell: str) -> tuple[bytes, NDArray[np.bool_]] | None:
        """Returns the labels of the test images and the correct predictions; None without a whole file of them."""
        arrays = self._kept(ACCURACY, cell)
        if not {"label", "prediction"} <= arrays.keys():
            return None
        return arrays["label"].tobytes(), are_correct(arrays["prediction"], arrays["label"])


# ---------------------------------------------------------------------------------------------------------------------
# Pairs whose seeds were added until their difference was decided

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
