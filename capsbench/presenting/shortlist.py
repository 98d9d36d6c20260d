"""Which contenders a picture shows: no more than can be told apart."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Literal, NamedTuple

import pandas as pd

from capsbench.presenting.figures.style import assign_styles
from capsbench.presenting.material import Material, NoDataError

MOST, LEAST, IN_ALL = 12, 4, 16
"""Contenders of a data set in a picture: at most, and where there are several data sets; and those of all together."""


class Chosen(NamedTuple):
    """What a picture shows of a measure's rows.

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
    """The rows of the most accurate contenders; raises NoDataError, of ``missing``, where there are no rows."""
    if rows.empty:
        raise NoDataError(missing)
    summary, left_out = choose_most_accurate(material.summary, rows["contender"].unique())
    own = material.with_steps(rows[rows["contender"].isin(summary["contender"])])
    return Chosen(own, replace(material, summary=summary).average_seeds(own), summary, left_out)


def choose_most_accurate(
    summary: pd.DataFrame,
    measured: Collection[str] | None = None,
    most: int = MOST,
    by: Literal["contender", "series"] = "contender",
) -> tuple[pd.DataFrame, str]:
    """The most accurate contenders of each data set with their matched baselines, and a sentence on the others.

    Args:
        summary: named contenders (`capsbench.presenting.figures.style.add_styles`).
        measured: those that there is something to show of; all if None.
        most: how many of a data set are shown.
        by: ``series`` counts a network at all its iterations as one.
    """
    own = summary if measured is None else summary[summary["contender"].isin(set(measured))]
    if own.empty:
        return own, ""
    most = min(most, max(LEAST, IN_ALL // own["dataset"].nunique()))
    if own.groupby("dataset")[by].nunique().max() <= most:
        return own, ""
    ranked = own
    if "accuracy_percent" in own:
        ranked = own.sort_values("accuracy_percent", ascending=False, na_position="last", kind="stable")
    unit = dict(zip(own["contender"], own[by], strict=True))
    kept: set[tuple[str, str]] = set()
    for dataset, rows in ranked.groupby("dataset", sort=False):
        names: set[str] = set()
        for contender, baseline in zip(rows["contender"], rows["baseline"], strict=True):
            wanted = names | {unit[contender]} | ({unit[baseline]} if baseline in unit else set())
            if len(wanted) > most:
                break
            names = wanted
        kept |= {(str(dataset), name) for name in names}
    shown = own[[pair in kept for pair in zip(own["dataset"], own[by], strict=True)]]
    of = "each data set's contenders" if own["dataset"].nunique() > 1 else "the contenders"
    return assign_styles(shown), (
        f" Shown are the most accurate of {of} and their baselines, {len(shown)} of {len(own)} in all; "
        "`capsbench report --where` chooses others."
    )
