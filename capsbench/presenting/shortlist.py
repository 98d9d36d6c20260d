"""The contenders of a picture: no more than its colours and markers distinguish."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Literal, NamedTuple

import pandas as pd

from capsbench.presenting.material import Material, NoDataError

MOST, LEAST, IN_ALL = 12, 4, 16
"""Contenders of a data set in a picture: at most, and where there are several data sets; and those of all together."""


class Chosen(NamedTuple):
    """The rows of a measure that a picture shows.

    Attributes:
        rows: those of the contenders, one a cell and number, each with its ``step``.
        table: their means over seeds (`capsbench.presenting.material.Material.average_seeds`).
        summary: the contenders, in the order of the headline table, each with its look.
        left_out: a sentence on those that are not shown, with a space before it; empty where all are.
    """

    rows: pd.DataFrame
    table: pd.DataFrame
    summary: pd.DataFrame
    left_out: str


def choose_contenders(material: Material, rows: pd.DataFrame, missing: str) -> Chosen:
    """Returns the rows of the most accurate contenders; raises NoDataError, of ``missing``, where there are no rows."""
    if rows.empty:
        raise NoDataError(missing)
    summary, left_out = choose_most_accurate(material.summary, rows["contender"].unique())
    chosen = material.with_steps(rows[rows["contender"].isin(summary["contender"])])
    return Chosen(chosen, replace(material, summary=summary).average_seeds(chosen), summary, left_out)


def choose_most_accurate(
    summary: pd.DataFrame,
    measured: Collection[str] | None = None,
    most: int = MOST,
    by: Literal["contender", "series"] = "contender",
) -> tuple[pd.DataFrame, str]:
    """Returns the most accurate contenders of each data set with their matched baselines, and a sentence on the others.

    Args:
        summary: named contenders (`capsbench.presenting.figures.style.add_styles`).
        measured: the contenders that have numbers; all if None.
        most: the largest number of a data set's contenders.
        by: ``series`` counts a network at all its iterations as one.
    """
    rows = summary if measured is None else summary[summary["contender"].isin(set(measured))]
    if rows.empty:
        return rows, ""
    most = min(most, max(LEAST, IN_ALL // rows["dataset"].nunique()))
    if rows.groupby("dataset")[by].nunique().max() <= most:
        return rows, ""
    ranked = rows
    if "accuracy_percent" in rows:
        ranked = rows.sort_values("accuracy_percent", ascending=False, na_position="last", kind="stable")
    unit = dict(zip(rows["contender"], rows[by], strict=True))
    chosen: set[tuple[str, str]] = set()
    for dataset, group in ranked.groupby("dataset", sort=False):
        names: set[str] = set()
        for contender, baseline in zip(group["contender"], group["baseline"], strict=True):
            wanted = names | {unit[contender]} | ({unit[baseline]} if baseline in unit else set())
            if len(wanted) > most:
                break
            names = wanted
        chosen |= {(str(dataset), name) for name in names}
    most_accurate = rows[[pair in chosen for pair in zip(rows["dataset"], rows[by], strict=True)]]
    of = "each data set's contenders" if rows["dataset"].nunique() > 1 else "the contenders"
    return most_accurate, (
        f" Shown are the most accurate of {of} and their baselines, {len(most_accurate)} of {len(rows)} in all; "
        "`capsbench report --where` chooses others."
    )
