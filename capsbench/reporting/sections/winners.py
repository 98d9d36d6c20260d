"""The section that a reader sees first: which contender is ahead on each number, and what the lead costs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from capsbench.measures.soundness import find_failed_checks
from capsbench.presenting.caption import About
from capsbench.presenting.format import PERCENT, POINTS, format_interval, format_si, spell_seeds_needed
from capsbench.presenting.marks import COLLAPSED, MARKS, UNLIKE, has_mark
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.presenting.verdicts import SECOND, Verdicts
from capsbench.presenting.words import TIED, TIMES
from capsbench.reporting.sections.budget import Group, pair_groups
from capsbench.reporting.sections.contests import (
    Number,
    Values,
    count_digits,
    find_step,
    judge_difference,
    list_numbers,
)
from capsbench.stats.differences import ALPHA, FEWEST_SEEDS, estimate_interval
from capsbench.stats.power import MOST_SEEDS
from capsbench.stats.verdicts import Outcome, Verdict

MOST_NAMED = 3
"""The most contenders that a line names; it counts further ones."""

BETWEEN = "; "
"""Separates the names of contenders, which may have commas in them."""

SHOW_IT, CHEAPEST, KEPT_OUT = "seeds would show it", "Cheapest of these", "Collapsed and kept out"
"""Words in a line that the caption explains if a line has them."""


@dataclass(frozen=True)
class Line:
    """A number of the contenders of one budget.

    Attributes:
        first: the contender with the best mean.
        behind: the others, best first -> the verdict on the difference to the first; None without a seed in common.
        kept_out: contenders that have the number and take no part.
    """

    number: Number
    group: Group
    first: str
    values: Values
    behind: dict[str, Verdict | None]
    kept_out: list[str]


def build_table(material: Material) -> pd.DataFrame:
    """Returns one row for each budget, number and contender other than the first."""
    values = {number: number.find_values(material) for number in list_numbers(material.specs)}
    unsound = find_failed_checks(material)
    lines = [
        line
        for plain, attacked in pair_groups(material)
        for number, of_number in values.items()
        for line in _rank_contenders(
            number, attacked if number.contest.at_headline_bound else plain, of_number, material.verdicts
        )
    ]
    if not lines:
        raise NoDataError("a second network", "was not measured, or all have collapsed")
    rows = [row for line in lines for row in _build_rows(line, material.verdicts, unsound)]
    return pd.DataFrame(rows).astype({"seeds_needed": "Int64", "images_needed": "Int64"})


def _rank_contenders(number: Number, group: Group, values: Values, verdicts: Verdicts) -> Iterator[Line]:
    """Yields the line of a number in a group; none with fewer than two contenders, or if the first has collapsed."""
    collapsed = has_mark(group.contenders, COLLAPSED)
    measured = [name for name in group.contenders.index if name in values]
    kept_out = [name for name in measured if number.contest.excludes_collapsed and collapsed[name]]
    competing = {name: values[name] for name in measured if name not in kept_out}
    if not competing or len(measured) < 2:
        return
    means = {name: fmean(value.value for value in by_seed.values()) for name, by_seed in competing.items()}
    first, *others = sorted(competing, key=means.__getitem__, reverse=bool(number.metric.higher_is_better))
    if collapsed[first]:  # then all have, and nobody won
        return
    step = find_step(competing)
    behind = {name: judge_difference(number, competing, first, name, step, verdicts) for name in others}
    yield Line(number, group, first, competing, behind, kept_out)


def _build_rows(line: Line, verdicts: Verdicts, unsound: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yields the rows of a line, contenders that are kept out last.

    Args:
        unsound: contenders for which a sanity check of the attacks failed. Their numbers may be too high, so that one of them
            may be first without being ahead.
    """
    doubtful = line.number.contest.at_headline_bound and line.first in unsound
    ahead = {
        name: not doubtful and verdict is not None and verdict.outcome is Outcome.DIFFERENT
        for name, verdict in line.behind.items()
    }
    best, factor = line.values[line.first], line.number.factor
    mean, half = estimate_interval([value.value for value in best.values()], find_step(line.values))
    level = [line.first, *(name for name in line.behind if not ahead[name])]
    cheapest = _find_cheapest(line.group, level) if len(best) >= FEWEST_SEEDS else ""
    for name in (*line.behind, *line.kept_out):
        verdict = line.behind.get(name)
        yield {
            "on": line.group.title,
            "measured": line.number.title,
            "first": line.first,
            "first_name": line.group.label(line.first),
            "value": factor * mean,
            "ci95": factor * half,
            "n": len(best),
            "other": name,
            "other_name": line.group.label(name),
            "behind_by": math.nan if verdict is None else factor * abs(verdict.difference.mean),
            "behind_by_ci95": math.nan if verdict is None else factor * verdict.half,
            "behind_by_n": 0 if verdict is None else verdict.difference.seeds,
            "family": verdicts.family(line.first, name) if line.number.is_test_accuracy else SECOND,
            "p": math.nan if verdict is None else verdict.p,
            "verdict": str(Outcome.NOT_TESTED if verdict is None else verdict.outcome),
            "seeds_needed": None if verdict is None else verdict.seeds_needed,
            "images_needed": None if verdict is None else verdict.images_needed,
            "unlike": ", ".join(verdicts.unlike(line.first, name)),
            "ahead": ahead.get(name, False),
            "kept_out": name in line.kept_out,
            "cheapest": cheapest,
        }


def _find_cheapest(group: Group, contenders: list[str]) -> str:
    """Returns which of some contenders has the fewest FLOPs for an image, and how many; empty if none is known."""
    if "flops" not in group.contenders:
        return ""
    costs = group.contenders.loc[contenders, "flops"].dropna()
    return f"{group.label(str(costs.idxmin()))}, {format_si(costs.min())} FLOPs" if len(costs) else ""


def format_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns one row of strings for each budget and number."""
    lines: list[dict[str, Any]] = []
    for _, others in table.groupby(["on", "measured"], sort=False):
        row = others.iloc[0].to_dict()
        lines.append(
            {
                "on": row["on"],
                "measured": row["measured"],
                "first": row["first_name"],
                "value": _format_number(row, "value", "ci95", PERCENT),
                "n": str(row["n"]),
                "the others": _describe_others(others),
            }
        )
    strings = pd.DataFrame(lines)
    several = strings["on"].nunique() > 1
    strings["on"] = strings["on"].where(~strings["on"].duplicated(), "")
    return strings if several else strings.drop(columns="on")


def _describe_others(others: pd.DataFrame) -> str:
    """``Ahead of em x1 (5.7 ± 1.5). Not significantly different: em x2 (0.2 ± 2.6, 40 seeds would show it).`` and so on."""
    cheapest, kept_out, ranked = others["cheapest"].iloc[0], others[others["kept_out"]], others[~others["kept_out"]]
    untested = ranked["verdict"] == Outcome.NOT_TESTED
    doubtful = (ranked["verdict"] == Outcome.DIFFERENT) & ~ranked["ahead"]
    level = ~ranked["ahead"] & ~untested & ~doubtful
    statements = {
        "Ahead of": ranked[ranked["ahead"]],
        "Undecided, since a sanity check of its attacks failed:": ranked[doubtful],
        "Not significantly different:": ranked[level],
        "Not tested:": ranked[untested],
    }
    sentences = [f"{words} {_name_contenders(rows)}." for words, rows in statements.items() if len(rows)]
    sentences += [f"{CHEAPEST}: {cheapest}."] if cheapest and level.any() else []
    sentences += [f"{KEPT_OUT}: {_name_contenders(kept_out)}."] if len(kept_out) else []
    return " ".join(sentences)


def _name_contenders(others: pd.DataFrame) -> str:
    """``em x1 (2.2 ± 1.1); em x2 (2.9 ± 1.3) and 3 more``: the contenders, each with how far it is behind."""
    names = [_describe_contender(row) for row in others.head(MOST_NAMED).to_dict("records")]
    more = len(others) - MOST_NAMED
    return BETWEEN.join(names) + (f" and {more} more" if more > 0 else "")


def _describe_contender(row: dict[Any, Any]) -> str:
    name = str(row["other_name"])
    for sign in (TIMES, *(mark.sign for mark in MARKS)):
        name = name.replace(f" {sign}", TIED + sign)
    if row["kept_out"]:
        return name
    facts = [_format_number(row, "behind_by", "behind_by_ci95", POINTS) or "no seed in common"]
    if needed := spell_seeds_needed(row["verdict"], row["seeds_needed"]):
        facts.append(f"{needed} {SHOW_IT}")
    if row["verdict"] == Outcome.NOT_TESTED and row["behind_by_n"]:
        facts.append(f"{row['behind_by_n']} seed{'' if row['behind_by_n'] == 1 else 's'}")
    sign = TIED + UNLIKE.sign if row["unlike"] else ""
    return f"{name}{TIED}({', '.join(facts).replace(' ', TIED)}){sign}"


def _format_number(row: Mapping[Any, Any], value: str, half: str, unit: str) -> str:
    """Returns a number with its interval: a share in per cent or points, any other number with three significant digits."""
    title = str(row["measured"])
    return format_interval(
        row[value], row[half], count_digits(title, row[value]), unit if title.endswith(PERCENT) else ""
    )


SECTION = Section(
    name="winners",
    title="Who won",
    caption=(
        "Each line names the contender with the best mean. In brackets is how far the others are behind it, in points or in the "
        "unit of the number. A contender is called ahead if a paired test finds a significant difference (over images and seeds "
        f"for the test accuracy, otherwise over seeds; {FEWEST_SEEDS} seeds or more); otherwise the others may be as good. A "
        "capsule network and its baseline have the verdict and the interval of the table of accuracy and cost. All other "
        f"differences of this report are a second family: p < {ALPHA:g} and the 95 % intervals are corrected by Bonferroni's "
        "method for all comparisons that the report could make.",
        About(
            SHOW_IT.replace(" ", TIED),
            f"Up to {MOST_SEEDS} seeds are considered for how many would show a difference of this size and spread.",
        ),
        About(CHEAPEST, "Cheapest: the fewest FLOPs for an image."),
        About(
            KEPT_OUT,
            "A network that predicts one class withstands everything, so collapsed contenders take no part in numbers of what a "
            "network withstands.",
        ),
    ),
    table=build_table,
    readable=format_table,
)
