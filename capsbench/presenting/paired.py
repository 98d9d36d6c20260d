"""Differences in test accuracy between contenders: image by image if predictions are on record, else seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capsbench.errors import ArgumentError
from capsbench.measures.accuracy.spec import ACCURACY
from capsbench.records.artifacts import are_correct
from capsbench.stats.differences import Difference, compare_accuracies, paired_seeds

Kept = Callable[[str, str], dict[str, NDArray[Any]]]
"""(measure, cell) -> the arrays that the measure kept of that cell: `capsbench.records.store.Store.kept`."""


def nothing_kept(measure: str, cell: str) -> dict[str, NDArray[Any]]:
    """Returns the arrays of records whose measures kept nothing: none."""
    return {}


class Pairs:
    """The differences in test accuracy, image by image if predictions are on record.

    Args:
        kept: where they are.
    """

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
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
        images = [[self._right(cells[seed]) for seed in seeds] for cells in (one, other)]
        ones, others = ([image[1] for image in part if image is not None] for part in images)
        labels = {image[0] for part in images for image in part if image is not None}
        if len(ones) == len(others) == len(seeds) and len(labels) == 1:
            return compare_accuracies(np.stack(ones), np.stack(others))
        numbers = [[accuracy[cells[seed]] for seed in seeds] for cells in (one, other)]
        return paired_seeds(numbers[0], numbers[1], step)

    def _read_correct(self, cell: str) -> tuple[bytes, NDArray[np.bool_]] | None:
        """Returns the labels of the test images and the correct predictions; None without a whole file of them."""
        arrays = self._kept(ACCURACY, cell)
        if not {"label", "prediction"} <= arrays.keys():
            return None
        return arrays["label"].tobytes(), are_correct(arrays["prediction"], arrays["label"])
