"""Who won, in sentences that a paper can quote: those of an answer (`sentences`), on the verdicts of "who won"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from capsbench.presenting.format import name_unit
from capsbench.presenting.marks import marks_of
from capsbench.records.tuning import TUNED
from capsbench.reporting.answering.comparisons import Result
from capsbench.reporting.answering.contenders import list_names_in_task
from capsbench.reporting.answering.sentences import spell_lead
from capsbench.stats.differences import ALPHA
from capsbench.stats.verdicts import Outcome

Contenders = Mapping[Any, Mapping[Any, Any]]
"""Contender -> what sentences say of it."""

ABOUT_TESTS = (
    "Differences in test accuracy are tested in pairs over images and seeds, all others in pairs over seeds; significant is "
    f"p < {ALPHA:g} after correction for multiple comparisons."
)
"""The sentence on the tests behind the others."""


def spell_quotes(winners: pd.DataFrame, summary: pd.DataFrame) -> list[str]:
    """Returns a sentence or a few on each number of "who won", and one on the tests where there was any.

    Args:
        winners: the table of `capsbench.reporting.sections.winners`.
        summary: the contenders (`capsbench.presenting.contenders.summary`).
    """
    quotes, contenders = [], describe_contenders(summary)
    for _, rows in winners.groupby(["on", "measured"], sort=False):
        lines = to_lines(rows, contenders)
        quotes.append(spell_lead(lines[0], [[line] for line in lines]))
    is_tested = (winners["verdict"] != Outcome.NOT_TESTED).any()
    return [*quotes, *([ABOUT_TESTS] if is_tested else [])]


def describe_contenders(summary: pd.DataFrame) -> Contenders:
    """Returns what a summary has of each contender, with its name in its task and its marks."""
    described = summary.assign(bare=list_names_in_task(summary), marks=_spell_marks(summary))
    return described.set_index("contender").to_dict("index")


def to_lines(rows: pd.DataFrame, contenders: Contenders) -> list[dict[str, Any]]:
    """Returns the rows of a number of "who won" as those of an answer for its first contender.

    Args:
        contenders: as `describe_contenders` gives them.
    """
    return [_to_line(row, contenders) for row in rows.to_dict("records")]


def _to_line(row: Mapping[Any, Any], contenders: Contenders) -> dict[str, Any]:
    """Returns a row of "who won" as a row of an answer for its first contender."""
    first, other = contenders[row["first"]], contenders[row["other"]]
    return {
        "on": row["on"],
        "contender_name": first["bare"],
        "contender_marks": first["marks"],
        "facts": ["the best mean"],
        "unit_of_n": name_unit(first.get(TUNED)),
        "rival_name": other["bare"],
        "rival_marks": other["marks"],
        "network": "",  # the names tell it
        "budget": "",  # that of all who compete
        "tuning": "",
        "unlike": row["unlike"],
        "measured": row["measured"],
        "value": row["value"],
        "value_ci95": row["ci95"],
        "value_n": row["n"],
        "result": str(_find_result(row)),
        "n": row["behind_by_n"],
    }


def _find_result(row: Mapping[Any, Any]) -> Result:
    if row["kept_out"]:
        return Result.KEPT_OUT
    if row["verdict"] == Outcome.NOT_TESTED:
        return Result.NOT_TESTED
    if row["ahead"]:
        return Result.BETTER
    return Result.DOUBTFUL if row["verdict"] == Outcome.DIFFERENT else Result.NOT_SIGNIFICANT


def _spell_marks(summary: pd.DataFrame) -> pd.Series:
    return marks_of(summary).map(lambda marks: ", ".join(mark.name.replace("_", " ") for mark in marks))
