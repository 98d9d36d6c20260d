"""The numbers of a record beside those of its reproduction: the same bits, within the interval of the images, or outside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from capsbench.comparing.judged import list_judged
from capsbench.measures.spec import SHARE, metrics_beyond_shares
from capsbench.presenting.steps import Steps
from capsbench.records.record import Record, Row
from capsbench.records.specs import find_unrepeatable, specs_of
from capsbench.stats.shares import wilson_interval
from capsbench.stats.variances import ALPHA

DIFFERENCE = "difference"
"""The condition of the difference of two shares, which is none itself."""


class Agreement(StrEnum):
    """How a number of the reproduction agrees with the one on record."""

    SAME = "same"  # the same bits
    WITHIN = "within"  # the interval of the test images around the new number holds the one on record
    OUTSIDE = "outside"  # it does not; or a count, such as parameters, is another
    OPEN = "differs"  # another number that has no interval, such as a likelihood
    MISSING = "missing"  # the reproduction has no such number
    TIME = "time"  # times and memory, which differ at every run


@dataclass(frozen=True)
class ComparedNumber:
    """A number on record and its reproduction.

    Attributes:
        measure, metric, condition, level, unit: as in `capsbench.records.record.Row`.
        recorded: the number on record.
        reproduced: the new one; None if it is missing.
        low, high: the interval of the new number; None if it has none, and if both numbers are the same.
    """

    measure: str
    metric: str
    condition: str
    level: float | None
    unit: str
    recorded: float
    reproduced: float | None
    agreement: Agreement
    low: float | None = None
    high: float | None = None

    @property
    def title(self) -> str:
        """The number in words: ``affine accuracy rotation 15``."""
        level = "" if self.level is None else f" {self.level:g}"
        return f"{self.measure} {self.metric} {self.condition}{level}"


def compare_numbers(before: Record, now: Record, specs: Iterable[str], steps: Steps) -> list[ComparedNumber]:
    """Compares the numbers of a training and of some measures of it with those of its reproduction.

    Shares of images have Wilson's interval, at a level at which one in 20 reproductions has any number outside by the draw of its
    images (Bonferroni over the shares).

    Args:
        before, now: the record, and that of the reproduction.
        specs: the measures that were taken again.
        steps: of the numbers of both records.
    """
    rows = [] if before.training is None else [*before.training.rows]
    rows += [row for spec in specs if spec in before.measures for row in before.measures[spec].rows]
    known = specs_of([before, now])
    timed, exact = find_unrepeatable(known), list_judged(known, "exact")
    images = {row.key: _count_images(row, before.cell.dataset, steps) for row in rows if row[:2] not in timed}
    level = ALPHA / max(1, sum(count is not None for count in images.values()))
    values = {row.key: row.value for row in now.rows}

    def compare_row(row: Row) -> ComparedNumber:
        value = values.get(row.key)
        low = high = None
        if row[:2] in timed:
            agreement = Agreement.TIME
        elif value is None:
            agreement = Agreement.MISSING
        elif value == row.value:
            agreement = Agreement.SAME
        elif any(number.is_of(row) for number in exact):
            agreement = Agreement.OUTSIDE
        elif (count := images[row.key]) is None or not 0 <= value <= 1:
            agreement = Agreement.OPEN
        else:
            low, high = wilson_interval(value, count, level)
            agreement = Agreement.WITHIN if low <= row.value <= high else Agreement.OUTSIDE
        return ComparedNumber(
            row.measure, row.metric, row.condition, row.level, row.unit, row.value, value, agreement, low, high
        )

    return [compare_row(row) for row in rows]


def _count_images(row: Row, dataset: str, steps: Steps) -> int | None:
    """Returns the number of images that a number is a share of; None if it is none."""
    is_share = row.unit == SHARE and row.condition != DIFFERENCE and row[:2] not in metrics_beyond_shares()
    step = steps.of(dataset, row.measure, row.metric, row.condition, row.unit) if is_share else None
    return round(1 / step) if step else None


def find_first_other_epoch(before: Sequence[dict[str, float]], now: Sequence[dict[str, float]]) -> int | None:
    """Returns the first epoch, from 1, in which two training curves differ but for their times; None if they are the same."""
    curves = [
        [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in curve]
        for curve in (before, now)
    ]
    if curves[0] == curves[1]:
        return None
    pairs = zip(*curves, strict=False)
    shorter = min(map(len, curves))
    return next((number for number, (one, other) in enumerate(pairs, start=1) if one != other), shorter + 1)
