"""Published numbers beside what was measured: each row of a suite's ``[[published]]`` with what measures it.

The rule (docs/suites.md): a published number is inside where the 95 % t-interval of its difference to the mean over our
seeds holds 0. A mean and a spread over trials enter as in Welch's test; a number of a single run counts as one more run of the
spread that ours have. One seed of ours has the interval of its test images alone (Wilson). Half a unit of the last printed digit
is added, since that much was rounded away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from capsbench.measures.accuracy.spec import TEST_ACCURACY
from capsbench.planning.suites import Suite
from capsbench.planning.suites.published import Published, rows_of
from capsbench.presenting.format import PERCENT, format_interval
from capsbench.presenting.steps import Steps
from capsbench.records.cell import Cell, asked_fields, fields_of, flag_of
from capsbench.records.declaration import Role
from capsbench.records.record import Record
from capsbench.stats.differences import estimate_interval
from capsbench.stats.shares import wilson_interval
from capsbench.stats.steps import step_of
from capsbench.stats.variances import critical_value, variance_of_seeds

CAPTION = (
    "published: as printed, ± standard deviation over trials; measured: mean over n seeds ± half-width of the 95 % "
    "t-interval; inside: the 95 % t-interval of their difference holds 0, rounding allowed for; (images): of one seed, the 95 % "
    "interval of its test images holds the published number"
)

INSIDE, OUTSIDE, TOO_FEW = "inside", "outside", "too few seeds"
"""What is said of a number that is judged, and of one seed whose test images cannot be counted."""

OF_IMAGES = " (images)"
"""Follows the verdict on one seed, which rests on its test images alone."""

DECISIVE = fields_of(Role.TASK)
"""Fields in which a cell may not differ from the suite if it is to be compared with what was published."""

INDEPENDENT = ("dataset", "train_size", "epochs")
"""The fields named for a cell of another size or data set; its other fields and options follow from these."""

NOT_WRITTEN = "no cell of the suite is this"
"""Said of a row whose ``where`` is at fault."""


@dataclass(frozen=True)
class Comparison:
    """A published number beside one contender that measures it, or beside none.

    Args:
        published: the number.
        verdict: that of `judge`, or why none can be said.
        values: what was measured, in percent, a seed each.
        at: the size, and what else differs from the suite as it is written.
        contender: the identity of the cells (`capsbench.records.cell.Cell.contender`).
        step: what the values are multiples of, in percent; None where it has to be guessed.
    """

    published: Published
    verdict: str
    values: Sequence[float] = ()
    at: str = ""
    contender: str | None = None
    step: float | None = None


def compare(
    suite: Suite, records: Sequence[Record], left_out: Mapping[str, str], steps: Steps | None = None
) -> list[Comparison]:
    """Each published number of a suite beside each contender that measures it.

    Args:
        suite: as it is written: what a record differs in from it is said beside the record.
        records: those of a run, or of a folder; failed ones count for nothing.
        left_out: the data sets that the run could not have.
        steps: of the records' numbers.

    Raises:
        UsageError: the suite names something that is not known here.
    """
    steps = steps or Steps(records)
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.status != "failed":
            groups.setdefault(record.cell.contender, []).append(record)
    measured = _by_row(suite.published, [group[0].cell for group in groups.values()])
    # What a suite without published numbers asks for is nobody's business here, and takes its time to resolve.
    cells_of_suite = _cells_of(suite) if suite.published else []
    comparisons = []
    for row, written, cells in zip(suite.published, _by_row(suite.published, cells_of_suite), measured, strict=True):
        comparisons_of_row = [_compare_row(row, groups[cell.contender], written, steps) for cell in cells]
        comparisons += [comparison for comparison in comparisons_of_row if comparison.values] or [
            Comparison(row, _why_none(row, written, left_out))
        ]
    return comparisons


def _cells_of(suite: Suite) -> list[Cell]:
    """One cell a contender of a suite, as it is written."""
    from capsbench.planning.matrix import (
        cells_of,  # imports torch, which a report without published numbers does not need
    )

    return cells_of(*suite.override_with({"seeds": [0]}))


def judge(row: Published, values: Sequence[float], step: float | None = None) -> str:
    """``inside`` or ``outside``, of at least one measured value; ``step`` as in `Comparison`.

    Of one value it is said with `OF_IMAGES`, or `TOO_FEW` if it is no share of images.
    """
    published = float(row.value)
    if len(values) > 1:
        return INSIDE if abs(fmean(values) - published) <= difference_ci95(row, values, step) else OUTSIDE
    interval = images_ci95(values[0], step)
    if interval is None:
        return TOO_FEW
    low, high = interval
    return (INSIDE if low - row.rounding <= published <= high + row.rounding else OUTSIDE) + OF_IMAGES


def images_ci95(value: float, step: float | None = None) -> tuple[float, float] | None:
    """The ends of the 95 % interval of one measured value over its test images, in percent; None if it is no share of images."""
    known = step_of([value / 100]) if step is None else step / 100
    if not known:
        return None
    low, high = wilson_interval(min(1.0, max(0.0, value / 100)), round(1 / known))
    return 100 * low, 100 * high


def difference_ci95(row: Published, values: Sequence[float], step: float | None = None) -> float:
    """Half-width of the 95 % t-interval of the difference between a published value and the mean of two values or more.

    With a spread s' over m trials beside our s over n seeds, its variance is s² / n + s'² / m, and Welch and Satterthwaite give
    the degrees of freedom. Without one, it is s² / n + s², with n - 1.
    """
    n = len(values)
    fractions = np.asarray(values) / 100
    known = step_of(fractions) if step is None else step / 100
    ours = 100**2 * float(variance_of_seeds(fractions, known, rounded=1).value)
    theirs, freedom = n * ours, n - 1.0
    if row.spread is not None and row.trials is not None:
        theirs = float(row.spread) ** 2 / row.trials
        both = ours**2 / (n - 1) + theirs**2 / (row.trials - 1)
        freedom = (ours + theirs) ** 2 / both if both else freedom
    return float(critical_value(freedom)) * math.sqrt(ours + theirs) + row.rounding


def table_of(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """The comparisons in numbers, one row each.

    ``published``, ``published_spread`` (over ``published_trials``), ``measured``, ``measured_ci95``, ``difference`` (measured
    less published) and ``difference_ci95``, which decides on the ``verdict``, are in ``unit``.
    """
    table = pd.DataFrame([_to_numbers(comparison) for comparison in comparisons])
    return table if table.empty else table.astype({"published_trials": "Int64"})


def readable(comparisons: Sequence[Comparison], said: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The comparisons as strings, with the digits of the paper and one at least.

    Args:
        said: contender -> what stands behind its name (`capsbench.presenting.marks.said_of`).
    """
    lines = []
    for each in comparisons:
        row = each.published
        where = "" if row.condition == "test" else f" ({row.condition})"
        spread = "" if row.spread is None else f" ± {row.spread}"
        digits = max(1, -int(row.value.as_tuple().exponent))
        measured = format_interval(*_estimate_interval(each.values, each.step), digits, PERCENT) if each.values else ""
        lines.append(
            {
                "table": row.table,
                "row": row.row,
                "number": f"{row.metric} {row.unit}{where}",
                "published": f"{row.value}{spread}{' (unverified)' if row.unverified else ''}",
                "measured": measured,
                "n": str(len(each.values) or ""),
                "at": f"{each.at} {(said or {}).get(each.contender or '', '')}".rstrip(),
                "verdict": each.verdict,
            }
        )
    return pd.DataFrame(lines)


def departures(cell: Cell, written: Sequence[Cell]) -> dict[str, Any]:
    """Field or option -> value, where a cell departs from the one of ``written`` that is most like it."""
    return min((_compare_cells(cell, other) for other in written), key=len, default={})


def _compare_cells(cell: Cell, written: Cell) -> dict[str, Any]:
    no_result = fields_of(Role.SEED, Role.MACHINE)  # these do not change the accuracy
    names = [name for name in asked_fields().values() if name not in no_result]
    fields = {name: getattr(cell, name) for name in names if getattr(cell, name) != getattr(written, name)}
    if "size" in fields or "dataset" in fields:
        return {name: value for name, value in fields.items() if name in ("size", *INDEPENDENT)}
    return fields | {name: value for name, value in cell.options.items() if written.options.get(name) != value}


def _by_row(published: Sequence[Published], cells: Sequence[Cell]) -> list[list[Cell]]:
    """For each row the cells that measure it."""
    chosen = [rows_of(cell, published) for cell in cells]
    return [
        [cell for cell, rows in zip(cells, chosen, strict=True) if any(other is row for other in rows)]
        for row in published
    ]


def _compare_row(row: Published, records: Sequence[Record], written: Sequence[Cell], steps: Steps) -> Comparison:
    cell = records[0].cell
    known = steps.of(cell.dataset, *TEST_ACCURACY[:2], row.condition)
    step = None if known is None else 100 * known
    values = [100 * value for value in (_find_value(record, row) for record in records) if value is not None]
    departing = departures(cell, written)
    decisive = [_spell_departure(name, departing[name]) for name in sorted(DECISIVE) if name in departing]
    others = [_spell_departure(name, value) for name, value in departing.items() if name != "size"]
    if decisive:
        verdict = f"not comparable ({', '.join(decisive)})"
    elif not written:
        verdict = f"not comparable ({NOT_WRITTEN})"
    elif row.differs:
        verdict = f"not comparable ({row.differs})"
    else:
        verdict = judge(row, values, step) if values else ""
    return Comparison(row, verdict, values, ", ".join([cell.size, *others]), cell.contender, step)


def _spell_departure(name: str, value: Any) -> str:
    """A departure as the command line would have it: ``train-size 1000``."""
    return f"{flag_of(name).replace('_', '-')} {'all' if value is None else value}"


def _find_value(record: Record, row: Published) -> float | None:
    """The record's number of this row, a fraction; only the accuracy is measured on all kinds of images."""
    for measured in record.rows:
        if measured[:3] == (*TEST_ACCURACY[:2], row.condition):
            return measured.value if row.metric == TEST_ACCURACY[1] else 1 - measured.value
    return None


def _why_none(row: Published, written: Sequence[Cell], left_out: Mapping[str, str]) -> str:
    if row.not_reproduced:
        return f"not reproduced: {row.not_reproduced}"
    if not written:
        return NOT_WRITTEN
    datasets = {cell.dataset for cell in written}
    return "no data here" if datasets <= set(left_out) else "not run"


def _estimate_interval(percent: Sequence[float], step: float | None) -> tuple[float, float]:
    """The mean and the half-width of its 95 % t-interval, in per cent."""
    mean, half = estimate_interval([value / 100 for value in percent], None if step is None else step / 100)
    return 100 * mean, 100 * half


def _to_numbers(each: Comparison) -> dict[str, Any]:
    row, values = each.published, each.values
    several = len(values) > 1
    mean, half = _estimate_interval(values, each.step) if values else (None, None)
    return {
        "table": row.table,
        "row": row.row,
        "metric": row.metric,
        "condition": row.condition,
        "published": float(row.value),
        "published_spread": None if row.spread is None else float(row.spread),
        "published_trials": row.trials,
        "unit": row.unit,
        "unverified": row.unverified,
        "source": row.source,
        "at": each.at,
        "n": len(values),
        "measured": mean,
        "measured_ci95": half if several else None,
        "difference": fmean(values) - float(row.value) if values else None,
        "difference_ci95": difference_ci95(row, values, each.step) if several else None,
        "verdict": each.verdict,
        "contender": each.contender,
    }
