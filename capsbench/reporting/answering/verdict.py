"""The head of a report: its question, and the answer in a sentence or two for each budget, on the verdicts of "who won"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from capsbench.presenting.format import PERCENT, format_interval
from capsbench.presenting.marks import COLLAPSED, has_mark
from capsbench.presenting.section import Statement
from capsbench.presenting.words import UNITS_OF_N
from capsbench.reporting.answering.comparisons import Result
from capsbench.reporting.answering.quotes import describe_contenders, to_lines
from capsbench.reporting.answering.sentences import (
    MEANINGS,
    MINE,
    join_names,
    list_marks,
    shorten_titles,
    spell_number,
    tie_numbers,
)
from capsbench.stats.differences import FEWEST_SEEDS

MOST_NAMED = 4
"""The most contenders that the answer names; it counts more."""

MOST_ANSWERS = 4
"""The most budgets with an answer at the head of a report; "who won" has all."""

CLAUSES = {
    Result.BETTER: "It is significantly better than {}.",
    Result.NOT_SIGNIFICANT: "It is not significantly different from {}.",
    Result.NOT_TESTED: "It was not tested against {}{why}.",
    Result.DOUBTFUL: "It is undecided against {}, since a sanity check of the attacks failed.",
    Result.KEPT_OUT: "It was not compared with {}, which collapsed.",
}
"""Result -> the sentence on the others."""


def spell_question(winners: pd.DataFrame, summary: pd.DataFrame, asked: str | None = None) -> str:
    """Returns the question that the head of a report answers.

    Args:
        winners: the table of `capsbench.reporting.sections.winners`; empty if nobody competes.
        summary: the contenders.
        asked: the contender that is asked about, as the user names it.
    """
    if summary.empty:
        return ""
    names = summary["dataset"].unique()
    on = join_names(names) if len(names) <= MOST_NAMED else f"{len(names)} data sets"
    if asked is not None:
        return f"How does {asked} compare with its rivals on {on}?"
    if winners.empty:
        labels = summary["label"].unique()
        return f"How good {f'is {labels[0]}' if len(labels) == 1 else f'are {len(labels)} contenders'} on {on}?"
    title = str(winners["measured"].iloc[0])
    competing = winners.loc[winners["measured"] == title, ["first", "other"]].to_numpy().flat
    count = summary.loc[summary["contender"].isin(list(competing)), "label"].nunique()
    return f"Which of {count} contenders has the best {shorten_titles([title])[title]} on {on}?"


def spell_verdicts(winners: pd.DataFrame, summary: pd.DataFrame) -> list[Statement]:
    """Returns the answer for each budget, as many as the head of a report has room for.

    Args:
        winners: the table of `capsbench.reporting.sections.winners`.
        summary: the contenders.
    """
    statements, contenders = [], describe_contenders(summary)
    budgets = list(winners.groupby("on", sort=False))
    for _, rows in budgets[:MOST_ANSWERS]:
        first = rows[rows["measured"] == rows["measured"].iloc[0]]
        lines = to_lines(first, contenders)
        statements.append(Statement(tie_numbers(_spell_verdict(lines)), [], _explain_marks(lines[0])))
    if left := len(budgets) - MOST_ANSWERS:
        more = f"{left} more {'budgets are' if left > 1 else 'budget is'} in the table."
        statements += [Statement(more)] if left > 0 else []
    return statements


def spell_no_verdicts(winners: pd.DataFrame, summary: pd.DataFrame) -> list[Statement]:
    """Returns why nobody won on data sets without an answer: all have collapsed, or a contender is alone."""
    if len(summary) == 1:
        return [Statement(_spell_only(summary.iloc[0]))]
    answered = set() if winners.empty else set(summary.loc[summary["contender"].isin(winners["first"]), "dataset"])
    collapsed: list[str] = []
    alone: list[str] = []
    for dataset, rows in summary.groupby("dataset", sort=False):
        if dataset in answered:
            continue
        is_lost = COLLAPSED.name in rows and has_mark(rows, COLLAPSED).all()
        (collapsed if is_lost else alone).append(str(dataset))
    reasons = {
        "Nobody won on {}: all contenders have collapsed, so each predicts one class, whatever the image.": collapsed,
        "Nobody won on {}: no two contenders have a number and a budget in common.": alone,
    }
    return [Statement(words.format(join_names(names))) for words, names in reasons.items() if names]


def _spell_only(row: pd.Series) -> str:
    """Returns the sentence on the only contender."""
    accuracy = row.get("accuracy_percent")
    if accuracy is None or pd.isna(accuracy):
        return f"On {row['dataset']}, {row['label']} is the only contender."
    text = format_interval(accuracy, row["accuracy_ci95"], 1, PERCENT)
    seeds = f"{row['accuracy_n']} seed{'' if row['accuracy_n'] == 1 else 's'}"
    return f"On {row['dataset']}, {row['label']} has a test accuracy of {text} % ({seeds}). It is the only contender."


def _spell_verdict(lines: Sequence[Mapping[Any, Any]]) -> str:
    mine = lines[0]
    title = str(mine["measured"])
    facts = ", ".join([spell_number(mine), *list_marks(mine, MINE)]).replace(", ", " (", 1)
    lead = f"On {mine['on']}, {mine['contender_name']} has the best mean {shorten_titles([title])[title]}: {facts})."
    units = UNITS_OF_N[mine["unit_of_n"]]
    few = all(line["n"] < FEWEST_SEEDS for line in lines if line["result"] == Result.NOT_TESTED)
    why = f": a test needs {FEWEST_SEEDS} {units} of each" if few else ""
    groups: dict[str, list[str]] = {}
    for line in lines:
        groups.setdefault(line["result"], []).append(str(line["rival_name"]))
    clauses = [
        CLAUSES[result].format(_name_others(groups[result], len(lines)), why=why)
        for result in Result
        if result in groups
    ]
    return " ".join([lead, *clauses])


def _explain_marks(line: Mapping[Any, Any]) -> list[str]:
    return [MEANINGS[mark] for mark in list_marks(line, MINE)]


def _name_others(names: Sequence[str], count: int) -> str:
    """Returns some of ``count`` others as a phrase."""
    if len(names) <= MOST_NAMED:
        return join_names(names)
    return f"any of the {count} others" if len(names) == count else f"{len(names)} of the {count} others"
