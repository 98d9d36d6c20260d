"""Differences in test accuracy between contenders: image by image if predictions are on record, else seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from capsbench.errors import ArgumentError
from capsbench.measures.accuracy.spec import ACCURACY
from capsbench.records.artifacts import are_correct
from capsbench.stats.differences import Difference, compare_accuracies, paired_seeds
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
