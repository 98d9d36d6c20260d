"""The step of each number of a page, decided once for its tables, pictures, tests and claims.

A share of n images is a multiple of 1/n (`capsbench.stats.steps`). n is known from the rows ``images`` of a measure, or from
what it kept of each image; a measure that says neither may have taken all test images. Else it is guessed from all values of a
number on one data set.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import pandas as pd

from capsbench.measures.accuracy.spec import IMAGES, TEST_ACCURACY
from capsbench.measures.spec import SHARE
from capsbench.presenting.paired import Kept, nothing_kept
from capsbench.records.record import Record
from capsbench.stats.steps import step_of, to_count

PER_IMAGE = ("label", "index", "image")
"""Names under which measures keep an entry for each of their images."""

TEST = (TEST_ACCURACY[0], TEST_ACCURACY[2])
"""The measure and condition of all test images."""

NUMBER = ["dataset", "measure", "metric", "condition", "unit"]


class Steps:
    """The steps of the numbers of some records.

    Args:
        records: all that are on the page.
        kept: what measures kept of their cells.
        titles: cell -> title, where conditions that are cells are asked for by their titles.
    """

    def __init__(
        self, records: Sequence[Record], kept: Kept = nothing_kept, titles: Mapping[str, str] | None = None
    ) -> None:
        self._kept = kept
        self._titles = titles or {}
        self._records: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            self._records[record.cell.dataset].append(record)
        self.of = cache(self._find_step)
        self._values = cache(self._collect_values)
        self._kept_images = cache(self._count_kept)

    def of_rows(self, rows: pd.DataFrame) -> pd.Series:
        """Returns the step of each row; the rows have the columns of `NUMBER`."""
        # A loop, as a table of the different numbers takes longer to make than it saves.
        numbers = zip(*(rows[name].tolist() for name in NUMBER), strict=True)
        return pd.Series([self.of(*map(str, number)) for number in numbers], index=rows.index, dtype=float)

    def images(self, dataset: str, measure: str, condition: str) -> set[int]:
        """Returns the known counts of images that a share may be of."""
        counts = _to_counts(self._values(dataset, measure).get((IMAGES, condition), ()))
        if measure != TEST[0]:
            return counts | self._kept_images(dataset, measure) | self.images(dataset, *TEST)
        return counts or (self._kept_images(dataset, measure) if condition == TEST[1] else set())

    def _find_step(self, dataset: str, measure: str, metric: str, condition: str, unit: str = SHARE) -> float | None:
        """Returns the step of all values of a number on a data set: 0 if it has none, None if no record has the number."""
        if unit != SHARE:
            return 0.0
        values = self._values(dataset, measure).get((metric, condition))
        return None if values is None else step_of(values, self.images(dataset, measure, condition))

    def _collect_values(self, dataset: str, measure: str) -> dict[tuple[str, str], list[float]]:
        """Returns (metric, condition) -> all values of a measure on a data set."""
        values: dict[tuple[str, str], list[float]] = defaultdict(list)
        for record in self._records[dataset]:
            for row in record.rows:
                if row.measure == measure:
                    values[row.metric, self._titles.get(row.condition, row.condition)].append(row.value)
        return values

    def _count_kept(self, dataset: str, measure: str) -> set[int]:
        """Returns the counts of images for which a measure kept an entry, of the first record with any."""
        for record in self._records[dataset]:
            arrays = self._kept(measure, record.cell.id) if record.find_measurement(measure) else {}
            listed = [arrays[name] for name in PER_IMAGE if name in arrays]
            if counts := _to_counts(len(entries) for entries in listed if entries.ndim):
                return counts
        return set()


def _to_counts(numbers: Iterable[float]) -> set[int]:
    """Returns the counts of images among numbers from files, which may be anything."""
    return {count for count in map(to_count, numbers) if count is not None}
