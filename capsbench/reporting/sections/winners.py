"""The section that a reader sees first: who is ahead on what, of which others that can be said, and what the lead costs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from capsbench.attacks.threats import Threat, bounds_of
from capsbench.measures.soundness import failed_checks, marked
from capsbench.presenting.figures.style import TIMES
from capsbench.presenting.format import si, with_interval
from capsbench.presenting.marks import COLLAPSED, has
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.paired import Pairs
from capsbench.presenting.section import Section
from capsbench.reporting.sections.budget import Group, groups_of
from capsbench.stats.differences import ALPHA, FEWEST_SEEDS, Difference, interval, paired_seeds
from capsbench.stats.steps import step_of

MOST_NAMED = 3
"""Contenders that are named in a line; of further ones their count is."""

BETWEEN = "; "
"""What stands between the names of contenders, which may have commas in them."""

KEPT = "\N{NO-BREAK SPACE}"
"""Keeps a number with its interval, and with what it is of."""

OfSeeds = dict[int, tuple[str, float]]
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
        """Contender -> seed -> cell and value, a fraction."""
        rows = material.rows
        chosen = (rows["measure"] == self.measure) & (rows["metric"] == self.metric)
        if self.conditions is not None:
            chosen &= rows["condition"].isin(self.conditions)
        own = material.chosen(chosen)
        if self.swept:
            bound = own["dataset"].map(
                {name: bounds_of(name, Threat.LINF).headline for name in own["dataset"].unique()}
            )
            own = own[(own["level"] - bound.astype(float)).abs() < 1e-6]
        found: Numbers = {}
        means = own.groupby(["contender", "seed", "cell"], sort=False)["value"].mean()
        for (contender, seed, cell), value in zip(means.index, means, strict=True):
            found.setdefault(contender, {})[seed] = cell, value
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
    behind: dict[str, Difference | None]
    kept_out: list[str]

    @property
    def pairs(self) -> int:
        """How many comparisons there could have been: the first was chosen for being first."""
        return len(self.numbers) * (len(self.numbers) - 1) // 2


def _table(material: Material) -> pd.DataFrame:
    """One row a budget, contest and contender beside the first."""
    numbers = {contest: contest.numbers(material) for contest in CONTESTS}
    unsound = failed_checks(material)
    lines = [
        line
        for plain, attacked in zip(groups_of(material), groups_of(marked(material)), strict=True)
        for contest, found in numbers.items()
        for line in _contested(contest, attacked if contest.swept else plain, found, material.pairs)
    ]
    if not lines:
        raise NoDataError("a second network")
    comparisons = sum(line.pairs for line in lines)
    return pd.DataFrame([row for line in lines for row in _rows(line, comparisons, unsound)])


def _contested(contest: Contest, group: Group, found: Numbers, pairs: Pairs) -> Iterator[Line]:
    measured = [name for name in group.contenders.index if name in found]
    kept_out = [name for name in measured if contest.withstood and has(group.contenders, COLLAPSED)[name]]
    numbers = {name: found[name] for name in measured if name not in kept_out}
    if not numbers or len(measured) < 2:
        return
    step = _step(numbers)
    means = {name: interval([value for _, value in own.values()])[0] for name, own in numbers.items()}
    first, *others = sorted(numbers, key=lambda name: means[name], reverse=not contest.least)
    behind = {name: _difference(contest, numbers[first], numbers[name], pairs, step) for name in others}
    yield Line(contest, group, first, numbers, behind, kept_out)


def _rows(line: Line, comparisons: int, unsound: Collection[str]) -> Iterator[dict[str, Any]]:
    """The rows of a line, those kept out last.

    Args:
        unsound: contenders of which a sanity check of the attacks failed: what is too high may be first for that alone.
    """
    doubtful = line.contest.swept and line.first in unsound
    ahead = {}
    for name, apart in line.behind.items():
        p = math.nan if apart is None or apart.seeds < FEWEST_SEEDS else min(1.0, apart.p * comparisons)
        ahead[name] = p < ALPHA and not doubtful, p
    own = line.numbers[line.first]
    mean, half = interval([value for _, value in own.values()], _step(line.numbers))
    level = [line.first, *(name for name in line.behind if not ahead[name][0])]
    cheapest = _cheapest(line.group, level) if len(own) >= FEWEST_SEEDS else ""
    for name in (*line.behind, *line.kept_out):
        apart = line.behind.get(name)
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
            "behind_by": math.nan if apart is None else 100 * abs(apart.mean),
            "behind_by_ci95": math.nan if apart is None else 100 * apart.half,
            "p": ahead.get(name, (False, math.nan))[1],
            "ahead": ahead.get(name, (False, math.nan))[0],
            "kept_out": name in line.kept_out,
            "cheapest": cheapest,
        }


def _step(numbers: Numbers) -> float:
    """What the numbers of a contest are multiples of."""
    return step_of([value for own in numbers.values() for _, value in own.values()])


def _difference(contest: Contest, one: OfSeeds, other: OfSeeds, pairs: Pairs, step: float) -> Difference | None:
    """One number less the other, as a fraction; None of contenders without a seed in common."""
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return None
    if contest is ACCURACY:
        cells = [{seed: own[seed][0] for seed in seeds} for own in (one, other)]
        return pairs.difference(cells[0], cells[1], dict([*one.values(), *other.values()]), step)
    return paired_seeds([one[seed][1] for seed in seeds], [other[seed][1] for seed in seeds], step)


def _cheapest(group: Group, contenders: list[str]) -> str:
    """Of the contenders that are not told apart from the first, the one of the least FLOPs an image."""
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
                "value": with_interval(row["value"], row["ci95"], 1),
                "n": str(row["n"]),
                "the others": _told(own),
            }
        )
    shown = pd.DataFrame(lines)
    several = shown["on"].nunique() > 1
    shown["on"] = shown["on"].where(~shown["on"].duplicated(), "")
    return shown if several else shown.drop(columns="on")


def _told(own: pd.DataFrame) -> str:
    """``Ahead of em x1 (5.7 ± 1.5). Not told apart from em x2 (0.2 ± 2.6).``, which of these is cheapest, and who is kept out."""
    cheapest, kept_out = own["cheapest"].iloc[0], own[own["kept_out"]]
    ahead, level = (own[~own["kept_out"] & (own["ahead"] == is_ahead)] for is_ahead in (True, False))
    said = [f"Ahead of {_named(ahead)}."] if len(ahead) else []
    said += [f"Not told apart from {_named(level)}."] if len(level) else []
    said += [f"Cheapest of these: {cheapest}."] if cheapest and len(level) else []
    said += [f"Collapsed and kept out: {_named(kept_out)}."] if len(kept_out) else []
    return " ".join(said)


def _named(others: pd.DataFrame) -> str:
    """``em x1 (2.2 ± 1.1); em x2 (2.9 ± 1.3) and 3 more``, by how much each is behind in brackets."""
    shown = others.head(MOST_NAMED)
    gaps = zip(shown["behind_by"], shown["behind_by_ci95"], strict=True)
    names = [str(name).replace(f" {TIMES}", KEPT + TIMES) for name in shown["other_name"]]
    by = [with_interval(gap, half, 1).replace(" ", KEPT) for gap, half in gaps]
    each = [f"{name}{KEPT}({gap})" if gap else name for name, gap in zip(names, by, strict=True)]
    more = len(others) - MOST_NAMED
    return BETWEEN.join(each) + (f" and {more} more" if more > 0 else "")


SECTION = Section(
    name="winners",
    title="Who won",
    caption=(
        "Of each number the contender with the best mean, and in brackets by how many points others are behind it, with the 95 % "
        "interval of that difference alone. It is called ahead of those that a paired test tells apart (over images and seeds "
        f"for the test accuracy, else over seeds; {FEWEST_SEEDS} seeds or more, p < {ALPHA:g} after correction for all pairs of "
        "all lines); those not told apart may be as good. Cheapest: of the least arithmetic an image. A network that says one "
        "class withstands everything: collapsed contenders have no part in what is about withstanding."
    ),
    table=_table,
    readable=_readable,
)
