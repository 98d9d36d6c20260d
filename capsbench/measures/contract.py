"""Checks the rows of a measure each time it is taken."""

from __future__ import annotations

from collections import Counter
from numbers import Real
from typing import Any

from capsbench import registry
from capsbench.errors import TrainingFailed
from capsbench.measures.spec import SHARE, MeasureSpec
from capsbench.records.record import LONGEST_NAME, ROUNDING, TRAINING, Row, explain_unfit
from capsbench.registry import measure_name


def check_rows(
    spec: str, rows: Any, declaration: MeasureSpec | None = None, source: str = "", extends: str = ""
) -> list[Row]:
    """Returns the rows of a measure with their numbers as Python's own.

    Args:
        declaration: the declarations of a user's own measure, whose name its rows have to have.
        extends: the built-in measure of which it is a user's own subclass, whose name its rows may have.
        source: of a measure between networks, the source's cell, with which each condition begins.

    Raises:
        TrainingFailed: they are no rows, of another measure's name, or have text where numbers belong, numbers where text does,
            text that no record can hold, a unit other than the declared one, no metric or condition that is declared, a number
            that is not finite, too large or a share outside [0, 1], one number twice or the condition of another source; the
            message says which.
    """
    if not isinstance(rows, list) or not all(isinstance(row, Row) for row in rows):
        wrong = next((row for row in rows if not isinstance(row, Row)), rows) if isinstance(rows, list) else rows
        raise TrainingFailed(f"gave a {type(wrong).__name__}, expected a list of {Row.__module__}.{Row.__name__}")
    checked = [_check_row(spec, row, declaration, extends) for row in rows]
    if declaration is not None and checked:
        _check_declared(checked, declaration)
    other = next((row.condition for row in checked if not row.condition.startswith(source)), None)
    if other is not None:  # rows from two sources could be of one number
        raise TrainingFailed(f"gave the condition {other!r}, expected one that begins with the source's cell, {source}")
    numbers = [row.key for row in checked]
    twice = next((number for number, count in Counter(numbers).items() if count > 1), None)
    if twice is not None:  # readers would differ in which of the two they take, and the record would be refused
        raise TrainingFailed(f"gave {twice[1]} ({twice[2]}) twice")
    return checked


def _check_declared(rows: list[Row], declaration: MeasureSpec) -> None:
    """Raises TrainingFailed if rows have none of the metrics, or none of the conditions of a metric, that tables would show."""
    conditions: dict[str, list[str]] = {}
    for row in rows:
        conditions.setdefault(row.metric, []).append(row.condition)
    declared = [metric.name for metric in declaration.metrics]
    if declared and not conditions.keys() & {*declared}:
        raise TrainingFailed(f"gave {', '.join(conditions)}, expected {' or '.join(declared)}, as its spec has it")
    for metric in declaration.metrics:
        of_contests = (condition for contest in metric.contests for condition in contest.conditions)
        named = {*metric.columns, *of_contests, *(name for judged in metric.judged for name in judged.conditions)}
        given = conditions.get(metric.name, [])
        if metric.columns and given and not named & {*given}:
            expected = " or ".join(repr(condition) for condition in metric.columns)
            raise TrainingFailed(
                f"gave {metric.name} of the condition {given[0]!r}, expected {expected}, as its spec has it"
            )


def _check_row(spec: str, row: Row, declaration: MeasureSpec | None, extends: str) -> Row:
    taken = {TRAINING, *registry.BUILT_IN["measure"]} - {measure_name(spec), extends}
    for name in ("measure", "metric", "condition", "unit"):
        _check_text(name, getattr(row, name))
    if row.measure in taken:
        raise TrainingFailed(f"gave a row of the name {row.measure!r}, which is another measure's")
    if declaration is not None and row.measure != declaration.name:
        raise TrainingFailed(
            f"gave a row of the name {row.measure!r}, expected {declaration.name!r}, as its spec has it"
        )
    metric = (
        next((metric for metric in declaration.metrics if metric.name == row.metric), None) if declaration else None
    )
    if metric is not None and metric.unit != row.unit:
        raise TrainingFailed(
            f"gave {row.metric} ({row.condition}) in {row.unit!r}, expected {metric.unit!r}, as its spec has it"
        )
    for number in (row.value, 0.0 if row.level is None else row.level):
        if not isinstance(number, Real):
            what = f"a {type(number).__name__}, no number,"
            raise TrainingFailed(f"gave {what} as {row.metric} ({row.condition})")
    unfit = explain_unfit(row)
    if unfit is not None:
        raise TrainingFailed(f"gave {unfit}, as {row.metric} ({row.condition})")
    if metric is not None and metric.unit == SHARE and metric.is_share and not -ROUNDING <= row.value <= 1 + ROUNDING:
        problem = f"gave {row.value:g} as {row.metric} ({row.condition}), expected a {SHARE} from 0 to 1"
        raise TrainingFailed(f"{problem}; a {SHARE} that may lie outside is declared with is_share=False")
    return row._replace(value=_to_plain(row.value), level=None if row.level is None else _to_plain(row.level))


def _check_text(name: str, text: Any) -> None:
    """Raises TrainingFailed for a text of a row that no record can hold."""
    if not isinstance(text, str):
        raise TrainingFailed(f"gave {text!r} as a row's {name}, expected text")
    if len(text) > LONGEST_NAME:
        raise TrainingFailed(
            f"gave a {name} of {len(text)} characters, {text[:50]!r}..., expected at most {LONGEST_NAME}"
        )
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, as in a file name that is not UTF-8
        raise TrainingFailed(f"gave {text!r} as a row's {name}, which is not Unicode") from None


def _to_plain(number: Any) -> float:
    """Returns a number of Python's own, since NumPy's are not written to a record."""
    return number if isinstance(number, int | float) else float(number)
