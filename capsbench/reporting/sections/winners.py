"""The section that a reader sees first: who is ahead on what, of which others that can be said, and what the lead costs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import pandas as pd

from capsbench.attacks.threats import Threat, bounds_of
from capsbench.measures.soundness import failed_checks, marked
from capsbench.presenting.caption import About
from capsbench.presenting.format import PERCENT, POINTS, needed_seeds, si, with_interval
from capsbench.presenting.marks import COLLAPSED, MARKS, UNLIKE, has
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.section import Section
from capsbench.presenting.verdicts import SECOND, Verdicts
from capsbench.presenting.words import TIMES
from capsbench.reporting.sections.budget import Group, groups_of
from capsbench.stats.differences import ALPHA, FEWEST_SEEDS, estimate_interval, paired_seeds
from capsbench.stats.verdicts import MOST_SEEDS, Outcome, Verdict

MOST_NAMED = 3
"""Contenders that are named in a line; of further ones their count is."""

BETWEEN = "; "
"""What stands between the names of contenders, which may have commas in them."""

KEPT = "\N{NO-BREAK SPACE}"
"""Keeps a number with its interval, and with what it is of."""

SHOW_IT, CHEAPEST, KEPT_OUT = "seeds would show it", "Cheapest of these", "Collapsed and kept out"
"""What is said of others, which the caption explains where it stands."""


class Value(NamedTuple):
    """A contender's number of a seed: a fraction, and what it is a multiple of."""

    value: float
    step: float


OfSeeds = dict[int, Value]
Numbers = dict[str, OfSeeds]


@dataclass(frozen=True)
class Contest:
    """A number by which one contender is ahead of others.

    Attributes:
        title: what it is, as a heading.
        measure, metric: of its rows.
        conditions: of its rows; of several, the mean. None: all of them.
        swept: whether the rows are those at the headline bound of attacks in L-infinity, of which sanity checks may fail.
        least: whether less is better.
        withstood: whether it is about what a change of the images leaves as it was: everything, of a network that says one class
            whatever it is shown. Collapsed contenders are kept out.
    """

    title: str
    measure: str
    metric: str
    conditions: tuple[str, ...] | None
    swept: bool = False
    least: bool = False
    withstood: bool = False

    def numbers(self, material: Material) -> Numbers:
        """Contender -> seed -> value."""
        rows = material.rows
        chosen = (rows["measure"] == self.measure) & (rows["metric"] == self.metric)
        if self.conditions is not None:
            chosen &= rows["condition"].isin(self.conditions)
        own = material.with_steps(material.chosen(chosen))
        if self.swept:
            bound = own["dataset"].map(
                {name: bounds_of(name, Threat.LINF).headline for name in own["dataset"].unique()}
            )
            own = own[(own["level"] - bound.astype(float)).abs() < 1e-6]
        found: Numbers = {}
        by_seed = own.groupby(["contender", "seed"], sort=False)
        means = by_seed.agg(value=("value", "mean"), step=("step", "max"), count=("value", "count"))
        for (contender, seed), (value, step, count) in zip(means.index, means.to_numpy(), strict=True):
            found.setdefault(contender, {})[seed] = Value(float(value), float(step / count))
        return found


ACCURACY = Contest("test accuracy %", "accuracy", "accuracy", ("test",))

CONTESTS = (
    ACCURACY,
    Contest("accuracy under warps, mean of families %", "affine", "area under the curve", None, withstood=True),
    Contest("error on novel viewpoints %", "viewpoint", "error", ("novel",), least=True, withstood=True),
    Contest("error on overlapping objects %", "overlap", "error", ("image",), least=True),
    Contest("predictions kept under transformations %", "equivariance", "consistency", ("all",), withstood=True),
    Contest(
        "worst case of attacks, L∞ %",
        "adversarial",
        "robust accuracy",
        ("Linf, worst case",),
        swept=True,
        withstood=True,
    ),
)


@dataclass(frozen=True)
class Line:
    """A contest of the contenders of a budget: the first, the others in their order, and what each is behind by.

    ``kept_out`` are those that have a number and no part in the contest.
    """

    contest: Contest
    group: Group
    first: str
    numbers: Numbers
    behind: dict[str, Verdict | None]
    kept_out: list[str]


def _table(material: Material) -> pd.DataFrame:
    """One row a budget, contest and contender beside the first."""
    numbers = {contest: contest.numbers(material) for contest in CONTESTS}
    unsound = failed_checks(material)
    lines = [
        line
        for plain, attacked in zip(groups_of(material), groups_of(marked(material)), strict=True)
        for contest, found in numbers.items()
        for line in _contested(contest, attacked if contest.swept else plain, found, material.verdicts)
    ]
    if not lines:
        raise NoDataError("a second network", "was not measured, or all have collapsed")
    rows = [row for line in lines for row in _rows(line, material.verdicts, unsound)]
    return pd.DataFrame(rows).astype({"seeds_needed": "Int64"})


def _contested(contest: Contest, group: Group, found: Numbers, verdicts: Verdicts) -> Iterator[Line]:
    measured = [name for name in group.contenders.index if name in found]
    kept_out = [name for name in measured if contest.withstood and has(group.contenders, COLLAPSED)[name]]
    numbers = {name: found[name] for name in measured if name not in kept_out}
    if not numbers or len(measured) < 2:
        return
    means = {name: fmean(each.value for each in own.values()) for name, own in numbers.items()}
    first, *others = sorted(numbers, key=lambda name: means[name], reverse=not contest.least)
    if has(group.contenders, COLLAPSED)[first]:  # then all have, and nobody won
        return
    behind = {name: _judge(contest, numbers, first, name, verdicts) for name in others}
    yield Line(contest, group, first, numbers, behind, kept_out)


def _rows(line: Line, verdicts: Verdicts, unsound: Collection[str]) -> Iterator[dict[str, Any]]:
    """The rows of a line, those kept out last.

    Args:
        unsound: contenders of which a sanity check of the attacks failed: what is too high may be first for that alone.
    """
    doubtful = line.contest.swept and line.first in unsound
    ahead = {
        name: not doubtful and verdict is not None and verdict.outcome is Outcome.DIFFERENT
        for name, verdict in line.behind.items()
    }
    own = line.numbers[line.first]
    mean, half = estimate_interval([each.value for each in own.values()], _step(line.numbers))
    level = [line.first, *(name for name in line.behind if not ahead[name])]
    cheapest = _cheapest(line.group, level) if len(own) >= FEWEST_SEEDS else ""
    for name in (*line.behind, *line.kept_out):
        verdict = line.behind.get(name)
        yield {
            "on": line.group.title,
            "measured": line.contest.title,
            "first": line.first,
            "first_name": line.group.label(line.first),
            "value": 100 * mean,
            "ci95": 100 * half,
            "n": len(own),
            "other": name,
            "other_name": line.group.label(name),
            "behind_by": math.nan if verdict is None else 100 * abs(verdict.difference.mean),
            "behind_by_ci95": math.nan if verdict is None else 100 * verdict.half,
            "behind_by_n": 0 if verdict is None else verdict.difference.seeds,
            "family": verdicts.family(line.first, name) if line.contest is ACCURACY else SECOND,
            "p": math.nan if verdict is None else verdict.p,
            "verdict": str(Outcome.NOT_TESTED if verdict is None else verdict.outcome),
            "seeds_needed": None if verdict is None else verdict.seeds_needed,
            "unlike": ", ".join(verdicts.unlike(line.first, name)),
            "ahead": ahead.get(name, False),
            "kept_out": name in line.kept_out,
            "cheapest": cheapest,
        }


def _step(numbers: Numbers) -> float:
    """What the numbers of a contest are multiples of."""
    return max(each.step for own in numbers.values() for each in own.values())


def _judge(contest: Contest, numbers: Numbers, first: str, name: str, verdicts: Verdicts) -> Verdict | None:
    """The verdict on one contender's number less another's; None of contenders without a seed in common."""
    if contest is ACCURACY:
        return verdicts.of_accuracy(first, name)
    one, other = numbers[first], numbers[name]
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return None
    sides = [[own[seed].value for seed in seeds] for own in (one, other)]
    return verdicts.judge(paired_seeds(sides[0], sides[1], _step(numbers)))


def _cheapest(group: Group, contenders: list[str]) -> str:
    """Of the contenders that are not significantly different from the first, the one of the least FLOPs an image."""
    if "flops" not in group.contenders:
        return ""
    costs = group.contenders.loc[contenders, "flops"].dropna()
    return f"{group.label(str(costs.idxmin()))}, {si(costs.min())} FLOPs" if len(costs) else ""


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    lines: list[dict[str, Any]] = []
    for _, own in table.groupby(["on", "measured"], sort=False):
        row = own.iloc[0]
        lines.append(
            {
                "on": row["on"],
                "measured": row["measured"],
                "first": row["first_name"],
                "value": with_interval(row["value"], row["ci95"], 1, PERCENT),
                "n": str(row["n"]),
                "the others": _told(own),
            }
        )
    shown = pd.DataFrame(lines)
    several = shown["on"].nunique() > 1
    shown["on"] = shown["on"].where(~shown["on"].duplicated(), "")
    return shown if several else shown.drop(columns="on")


def _told(own: pd.DataFrame) -> str:
    """``Ahead of em x1 (5.7 ± 1.5). Not significantly different: em x2 (0.2 ± 2.6, 40 seeds would show it).`` and so on."""
    cheapest, kept_out, left = own["cheapest"].iloc[0], own[own["kept_out"]], own[~own["kept_out"]]
    untested = left["verdict"] == Outcome.NOT_TESTED
    doubtful = (left["verdict"] == Outcome.DIFFERENT) & ~left["ahead"]
    ahead, level = left[left["ahead"]], left[~left["ahead"] & ~untested & ~doubtful]
    said = [f"Ahead of {_named(ahead)}."] if len(ahead) else []
    said += (
        [f"Undecided, since a sanity check of its attacks failed: {_named(left[doubtful])}."] if doubtful.any() else []
    )
    said += [f"Not significantly different: {_named(level)}."] if len(level) else []
    said += [f"Not tested: {_named(left[untested])}."] if untested.any() else []
    said += [f"{CHEAPEST}: {cheapest}."] if cheapest and len(level) else []
    said += [f"{KEPT_OUT}: {_named(kept_out)}."] if len(kept_out) else []
    return " ".join(said)


def _named(others: pd.DataFrame) -> str:
    """``em x1 (2.2 ± 1.1); em x2 (2.9 ± 1.3) and 3 more``: by how much each is behind, and what else is said of that."""
    names = [_described(row) for row in others.head(MOST_NAMED).to_dict("records")]
    more = len(others) - MOST_NAMED
    return BETWEEN.join(names) + (f" and {more} more" if more > 0 else "")


def _described(row: dict[Any, Any]) -> str:
    name = str(row["other_name"])
    for sign in (TIMES, *(mark.sign for mark in MARKS)):
        name = name.replace(f" {sign}", KEPT + sign)
    if row["kept_out"]:
        return name
    said = [with_interval(row["behind_by"], row["behind_by_ci95"], 1, POINTS) or "no seed in common"]
    if needed := needed_seeds(row["verdict"], row["seeds_needed"]):
        said.append(f"{needed} {SHOW_IT}")
    if row["verdict"] == Outcome.NOT_TESTED and row["behind_by_n"]:
        said.append(f"{row['behind_by_n']} seed{'' if row['behind_by_n'] == 1 else 's'}")
    sign = KEPT + UNLIKE.sign if row["unlike"] else ""
    return f"{name}{KEPT}({', '.join(said).replace(' ', KEPT)}){sign}"


SECTION = Section(
    name="winners",
    title="Who won",
    caption=(
        "Of each number the contender with the best mean, and in brackets by how many points others are behind it. It is called "
        "ahead where a paired test finds a significant difference (over images and seeds for the test accuracy, else over seeds; "
        f"{FEWEST_SEEDS} seeds or more); others may be as good. A capsule network and its baseline have the verdict and the "
        "interval of the table of accuracy and cost. All other differences of this report are a second family: p < "
        f"{ALPHA:g} and the 95 % intervals are Bonferroni's over all that could be compared.",
        About(
            SHOW_IT.replace(" ", KEPT),
            f"How many seeds would show a difference of this size and spread is looked for up to {MOST_SEEDS}.",
        ),
        About(CHEAPEST, "Cheapest: of the least arithmetic an image."),
        About(
            KEPT_OUT,
            "A network that says one class withstands everything: collapsed contenders have no part in what "
            "is about withstanding.",
        ),
    ),
    table=_table,
    readable=_readable,
)
