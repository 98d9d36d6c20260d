"""Marks of contenders: warnings that belong to a network in each table and picture.

A mark's sign stands behind the contender's name in each table, picture and legend, and what it means below the table or in the
caption; for programs it is a column of the summary under its name. A new mark is a `Mark` in `MARKS` and, where it is found
from records alone, a line of `FOUND_BY`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

import pandas as pd

from capsbench.measures.accuracy.spec import (
    ACCURACY,
    IMAGES,
    LARGEST_PREDICTED_SHARE,
    MAJORITY_SHARE,
    TEST_ACCURACY,
)
from capsbench.presenting.paired import Kept
from capsbench.records.record import Record
from capsbench.records.tuning import TUNED
from capsbench.stats.collapse import ONE_CLASS, Counts
from capsbench.stats.differences import ALPHA
from capsbench.stats.improvement import Curve, trend_of
from capsbench.stats.steps import to_count

POINTS, PART = 1.0, 0.1
"""The least gain from more training of a network that is still improving: points of test accuracy, or
that part of the validation loss if it classifies nothing."""


class Mark(NamedTuple):
    """A mark of contenders.

    Attributes:
        name: of its column in a summary, where it is true, false, or empty where that is not known.
        sign: one character, which nothing else stands for.
        meaning: a clause for legends.
    """

    name: str
    sign: str
    meaning: str


COLLAPSED = Mark(
    "collapsed",
    "\N{DOUBLE DAGGER}",
    f"collapsed: in a seed at least {100 * ONE_CLASS:g} % of the test predictions are one class, or the accuracy is not above "
    f"the share of the largest class (one-sided exact binomial test, p < {ALPHA:g})",
)

STILL_IMPROVING = Mark(
    "still_improving",
    "\N{UPWARDS ARROW}",
    f"still improving: by the trend of its validation error, and by that of the late half of its training alone, as much "
    f"training again would take {POINTS:g} point or more from its test error, or {100 * PART:g} % from its loss where it "
    f"classifies nothing (p < {ALPHA:g})",
)

OUTDATED = Mark(
    "outdated",
    "\N{PILCROW SIGN}",
    "outdated: the latest training of a seed failed, and its numbers are those of an earlier one",
)

UNSOUND = Mark(
    "unsound",
    "\N{DAGGER}",
    "a sanity check of the attacks failed for this network, so that its robust accuracy may be too high; the column `failed "
    "checks` of the table on adversarial robustness says which",
)
"""Stands where numbers of attacks are; `capsbench.measures.soundness` finds it."""

UNLIKE = Mark(
    "unlike",
    "\N{SECTION SIGN}",
    "the two trainings of a seed differ in more than is compared: in the commit, the version of torch, the kind of machine, "
    "the images and labels that their data set gave, or the spaces over which they were tuned",
)
"""Stands behind differences, of pairs; `capsbench.presenting.verdicts.Verdicts.unlike` finds it."""

SHARED = Mark(
    "shared_machine",
    "\N{DOUBLE VERTICAL LINE}",
    "shared machine: other jobs may have run on the machine while the times of a seed were taken",
)

MARKS = (COLLAPSED, STILL_IMPROVING, OUTDATED, SHARED, UNSOUND, UNLIKE)

Find = Callable[[Sequence[Record], Kept], bool | None]
"""(a contender's records, what measures kept) -> whether it has the mark; None where that is not known."""


def is_outdated(records: Sequence[Record], kept: Kept) -> bool:
    """Returns true if the latest training of any seed failed, so that the numbers are from an earlier one."""
    return any(record.is_outdated for record in records)


def is_shared(records: Sequence[Record], kept: Kept) -> bool:
    """Returns true if a measure that wants a machine for itself was taken of any seed beside other jobs."""
    return any(taken.provenance.get(SHARED.name) for record in records for taken in record.measures.values())


def is_collapsed(records: Sequence[Record], kept: Kept) -> bool | None:
    """Returns true if any seed of a contender has collapsed; None if none has and some are not known.

    Networks that classify nothing, and test images of several labels each, have no such counts.
    """
    collapsed = [counts.collapsed if (counts := counts_of(record, kept)) else None for record in records]
    return True if True in collapsed else None if None in collapsed else False


def counts_of(record: Record, kept: Kept) -> Counts | None:
    """Counts a network's predictions of the test images, from the rows of the measure accuracy, else from those it kept."""
    measured = record.find_measurement(ACCURACY)
    if measured is None:
        return None
    rows = {row.metric: row.value for row in measured.rows if row.condition == "test"}
    shares = [rows.get(name, -1.0) for name in (LARGEST_PREDICTED_SHARE, MAJORITY_SHARE, TEST_ACCURACY[1])]
    images = to_count(rows.get(IMAGES, 0.0))
    if images is not None and all(0 <= share <= 1 for share in shares):
        return Counts(images, *(round(images * share) for share in shares))
    arrays = kept(ACCURACY, record.cell.id)
    if not {"label", "prediction"} <= arrays.keys() or arrays["label"].ndim > 1:
        return None
    return Counts.from_predictions(arrays["prediction"], arrays["label"])


def is_still_improving(records: Sequence[Record], kept: Kept) -> bool | None:
    """Returns true if more training promises `POINTS` of test accuracy more; not known without a test accuracy."""
    errors = [1 - row.value for record in records for row in record.rows if row[:3] == TEST_ACCURACY]
    return judge_improvement(records, fmean(errors) if errors else None, _error_at_chance(records, kept))


def judge_improvement(records: Sequence[Record], error: float | None, chance: float) -> bool | None:
    """Returns true if more training promises a contender `POINTS` more, by `capsbench.stats.improvement.trend_of` of all seeds.

    This is the one rule of reports and of searches for epochs. A network that was stopped by its validation accuracy is not still
    improving; it is not known of a few epochs, nor of a classifier without an error.

    Args:
        records: those of the contender.
        error: its mean error, of which more training would remove a part; a network that classifies nothing needs none.
        chance: the error of always predicting one class; infinite if it is not known.
    """
    histories = [record.history for record in records if not _was_stopped(record)]
    if not histories:
        return False
    classifies = any("validation_accuracy" in epoch for history in histories for epoch in history)
    trend = trend_of([_curve_of(history, classifies) for history in histories], chance if classifies else math.inf)
    if trend is None or (classifies and error is None):
        return None
    gained, enough = (100 * error, POINTS) if classifies and error is not None else (1.0, PART)
    return bool(trend.p < ALPHA and min(trend.fall, trend.late) * gained >= enough)


def _error_at_chance(records: Sequence[Record], kept: Kept) -> float:
    """Returns the test error of always predicting the largest class; infinite if no record tells."""
    known = (counts for record in records if (counts := counts_of(record, kept)))
    return next((1 - counts.labelled / counts.images for counts in known), math.inf)


def _was_stopped(record: Record) -> bool:
    """Returns true if a training was stopped by its validation accuracy or patience."""
    cell, history = record.cell, record.history
    # A report knows a contender by the epochs that its search started from, which are fewer than those of its training.
    epochs = cell.epochs if record.convergence is None else max(cell.epochs, record.convergence.epochs)
    reached = bool(history) and 0 < cell.stop_at <= history[-1].get("validation_accuracy", 0)
    return reached or 0 < len(history) < epochs


def _curve_of(history: Sequence[dict[str, float]], classifies: bool) -> Curve:
    errors = [
        1 - epoch.get("validation_accuracy", math.nan) if classifies else epoch.get("validation_loss", math.nan)
        for epoch in history
    ]
    return Curve([epoch.get("learning_rate", math.nan) for epoch in history], errors)


FOUND_BY: dict[Mark, Find] = {
    COLLAPSED: is_collapsed,
    STILL_IMPROVING: is_still_improving,
    OUTDATED: is_outdated,
    SHARED: is_shared,
}
"""The marks that a contender has wherever it stands, and how each is found."""


def find_marks(records: Iterable[Record], kept: Kept) -> pd.DataFrame:
    """Returns one row a contender, indexed by identity, and a column a mark of `FOUND_BY`, empty if it is not known."""
    contenders: dict[str, list[Record]] = {}
    for record in records:
        contenders.setdefault(record.cell.contender, []).append(record)
    marks = {
        mark.name: pd.array([find(of_contender, kept) for of_contender in contenders.values()], dtype="boolean")
        for mark, find in FOUND_BY.items()
    }
    return pd.DataFrame(marks, index=list(contenders))


def has_mark(summary: pd.DataFrame, mark: Mark) -> pd.Series:
    """Returns true for each contender of a summary that is known to have a mark, in the order of the summary."""
    return summary[mark.name].fillna(False).astype(bool)


def marks_of(summary: pd.DataFrame) -> pd.Series:
    """Returns the list of marks of each contender of a summary."""
    known = {mark: summary[mark.name].astype(object) for mark in FOUND_BY if mark.name in summary}
    marks = [[mark for mark, column in known.items() if column.iloc[row] is True] for row in range(len(summary))]
    return pd.Series(marks, index=summary.index, dtype=object)


def said_of(summary: pd.DataFrame) -> pd.Series:
    """Returns the text behind each contender's name: ``(2 of 3 seeds) ‡``, the seeds that did not fail and the marks' signs.

    Of a tuned contender it counts studies.
    """
    units = summary[TUNED].isna().map({True: "seeds", False: "studies"}) if TUNED in summary else "seeds"
    seeds = "(" + summary["n"].map(str) + " of " + summary["seeds"].map(str) + " " + units + ")"
    signs = marks_of(summary).map(lambda marks: "".join(mark.sign for mark in marks))
    return (seeds.where(summary["n"] < summary["seeds"], "") + " " + signs).str.strip()


def with_marks(summary: pd.DataFrame) -> pd.DataFrame:
    """Returns a summary whose names (``label``) have the text of `said_of` behind them.

    A mark of times alone that all have says nothing of one of them: the headline table says it once.
    """
    marked = summary.drop(columns=SHARED.name) if is_shared_by_all(summary) else summary
    return summary.assign(label=(summary["label"] + " " + said_of(marked)).str.rstrip())


def is_shared_by_all(summary: pd.DataFrame) -> bool:
    """Returns true if the times of several contenders, all there are, were taken on a shared machine."""
    return SHARED.name in summary and len(summary) > 1 and bool(has_mark(summary, SHARED).all())


def with_sign(summary: pd.DataFrame, mark: Mark, contenders: Collection[str]) -> pd.DataFrame:
    """Returns a summary with a mark's sign behind the names of some contenders."""
    signs = summary["contender"].isin(list(contenders)).map({True: f" {mark.sign}", False: ""})
    return summary.assign(label=summary["label"] + signs)


def explain_signs(texts: Iterable[str]) -> list[str]:
    """Returns the meanings of the signs in some texts, a clause a mark."""
    together = "\n".join(texts)
    return [f"{mark.sign}: {mark.meaning}" for mark in MARKS if mark.sign in together]
