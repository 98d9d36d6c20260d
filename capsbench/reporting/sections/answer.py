"""The section of ``--for NAME``: one contender against its rivals, in sentences, a picture, and the numbers behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from capsbench.presenting.caption import About
from capsbench.presenting.figures.figure import Picture
from capsbench.presenting.figures.forest import ForestBlock, ForestPanel, ForestRow, draw_forest, is_cut
from capsbench.presenting.format import (
    PERCENT,
    POINTS,
    SIGNIFICANT,
    cut_interval,
    describe_difference,
    format_interval,
)
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.presenting.words import TIMES
from capsbench.reporting.answering.comparisons import Result, build_table
from capsbench.reporting.answering.sentences import shorten_titles, spell_answers, spell_ratio
from capsbench.reporting.sections.contests import count_digits
from capsbench.stats.differences import ALPHA, FEWEST_SEEDS
from capsbench.stats.verdicts import Outcome

ANSWER = "answer"
"""The name of the section, its table and its picture."""

MOST_ROWS, FEWEST_RIVALS = 36, 2
"""The most rows of the picture, and the rivals that each contender has at least, the first ones."""

MOST_PANELS = 4
"""The most contenders of the picture."""

OUTCOMES = {
    Result.BETTER: Outcome.DIFFERENT,
    Result.WORSE: Outcome.DIFFERENT,
    Result.NOT_SIGNIFICANT: Outcome.NOT_SIGNIFICANT,
    Result.NOT_TESTED: Outcome.NOT_TESTED,
}
"""Result -> the outcome that `describe_difference` knows."""


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns one row of strings a contender and rival: the differences, then the ratios of costs."""
    compared = table[table["rival"] != ""]
    lines = []
    for _, rows in compared.groupby(["contender", "rival"], sort=False):
        first = rows.iloc[0]
        line = {"contender": f"{first['contender_name']} on {first['on']}", "against": first["rival_name"]}
        for row in rows.to_dict("records"):
            line[row["measured"] if row["result"] else f"{TIMES} {row['measured']}"] = _format_number(row)
        lines.append(line)
    strings = pd.DataFrame(lines).fillna("")
    if strings.empty:
        return strings
    several = strings["contender"].nunique() > 1
    strings["contender"] = strings["contender"].where(~strings["contender"].duplicated(), "")
    strings = strings if several else strings.drop(columns="contender")
    return strings.rename(columns=shorten_titles(map(str, strings)))


def _format_number(row: dict[Any, Any]) -> str:
    if not row["result"]:
        return spell_ratio(row["ratio"])
    if row["result"] == Result.KEPT_OUT:
        return "kept out"
    title = row["measured"]
    unit = POINTS if title.endswith(PERCENT) else ""
    text = format_interval(row["difference"], row["ci95"], count_digits(title, row["difference"]), unit, "+z")
    if row["result"] == Result.DOUBTFUL:
        return f"{text} (undecided)"
    if row["result"] == Result.NOT_TESTED and (row["budget"] or row["tuning"]):
        return f"{text} (not tested)"
    outcome, is_tuned = OUTCOMES[Result(row["result"])], row["unit_of_n"] == "study"
    return describe_difference(text, outcome, row["n"], row["unlike"], is_tuned)


def draw_answer(material: Material) -> Picture:
    """Draws the differences of each contender to its rivals with their intervals, by number; to the right it is better."""
    table = build_table(material)
    table = table[table["result"].isin([*OUTCOMES, Result.DOUBTFUL])]
    if table.empty:
        raise NoDataError("a rival")
    names = list(table["contender"].unique())
    panels, left_out = [], len(names) > MOST_PANELS
    several = len(names) > 1
    for name in names[:MOST_PANELS]:
        rows: list[dict[Any, Any]] = table[table["contender"] == name].to_dict("records")
        chosen = choose_rows(rows, MOST_ROWS // min(len(names), MOST_PANELS))
        left_out |= len(chosen) < len(rows)
        title = f"{rows[0]['contender_name']} on {rows[0]['on']}" if several else ""
        panels += make_panels(chosen, title)
    asked = " and ".join(dict.fromkeys(map(str, table["contender_name"])))
    caption = f"Differences of {asked} to its rivals; right of the line it is better, also where less is better, as of an error."
    if any(not math.isnan(row.low) for panel in panels for row in panel.rows):
        caption += " Bars: 95 % intervals, adjusted as in the table."
    if any(is_cut(panel.rows) for panel in panels):
        caption += " An arrow marks an interval that the axis cuts."
    more = " Not all rows are shown; the table has all." if left_out else ""
    return draw_forest(panels, f"{asked} against its rivals", caption + more)


def choose_rows(rows: Sequence[dict[Any, Any]], most: int) -> list[dict[Any, Any]]:
    """Returns the rows of the first rivals, as many as a picture has room for."""
    rivals = list(dict.fromkeys(row["rival"] for row in rows))
    numbers = len({row["measured"] for row in rows})
    count = max(FEWEST_RIVALS, most // numbers - 1)
    return [row for row in rows if row["rival"] in rivals[:count]]


def make_panels(rows: Sequence[dict[Any, Any]], title: str) -> list[ForestPanel]:
    """Returns a panel for each unit of some rows, with a block a number; differences of errors have their sign changed."""
    titles = shorten_titles(str(row["measured"]) for row in rows)
    by_unit: dict[str, dict[str, list[ForestRow]]] = {}
    for row in rows:
        measured = str(row["measured"])
        unit = POINTS if measured.endswith(PERCENT) else measured.rpartition(" (")[2].removesuffix(")")
        sign = 1 if row["higher_is_better"] else -1
        ends = (math.nan, math.nan)
        if row["result"] != Result.NOT_TESTED:
            ends = cut_interval(sign * row["difference"], row["ci95"], unit)
        drawn = ForestRow(row["rival_name"], sign * row["difference"], *ends, row["result"])
        by_unit.setdefault(unit, {}).setdefault(titles[measured], []).append(drawn)
    return [
        ForestPanel(title, unit, [ForestBlock(name, of_number) for name, of_number in blocks.items()])
        for unit, blocks in by_unit.items()
    ]


SECTION = Section(
    name=ANSWER,
    title="The answer",
    caption=(
        "Differences are the contender's number minus the rival's, in points or in the unit of the number. Intervals (95 %) and "
        "verdicts are those of the rest of this report: to a baseline in test accuracy they are corrected by Holm's method, all "
        "others by Bonferroni's for all comparisons that the report could make. "
        f"A cost with {TIMES} is a multiple of the rival's.",
        About(
            SIGNIFICANT,
            f"{SIGNIFICANT}: significantly different, by a paired test of {FEWEST_SEEDS} seeds or more, corrected p < {ALPHA:g}.",
        ),
        About(
            "not tested",
            f"Not tested: fewer than {FEWEST_SEEDS} seeds in common, another budget, or tuned otherwise.",
        ),
        About("kept out", "Kept out: one of the two has collapsed, and such a network withstands everything."),
        About("undecided", "Undecided: a sanity check failed of the attacks on the better one."),
    ),
    table=build_table,
    readable=format_table,
    statements=spell_answers,
    pictures={ANSWER: draw_answer},
)
