"""The section that a reader sees first: who is ahead on what, of which others that can be said, and what the lead costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from capsbench.attacks.threats import Threat, bounds_of
from capsbench.reporting.budgets import Group, groups_of
from capsbench.reporting.pairs import Pairs
from capsbench.reporting.section import Material, NoDataError, Section
from capsbench.reporting.text import si, with_interval
from capsbench.statistics import ALPHA, FEWEST_SEEDS, Difference, interval, paired_seeds

MOST_NAMED = 4
"""Contenders that are named in a line; of further ones their count is."""

BETWEEN = "; "
"""What stands between the names of contenders, which may have commas in them."""

CHEAPEST = "cheapest of these (FLOPs)"

OfSeeds = dict[int, tuple[str, float]]
Numbers = dict[str, OfSeeds]


@dataclass(frozen=True)
class Contest:
    """A number by which one contender is ahead of others.

    Attributes:
        title: what it is, as a heading.
        measure, metric: of its rows.
        conditions: of its rows; of several, the mean. None: all of them.
        swept: whether the rows are those at the headline bound of attacks in L-infinity.
        least: whether less is better.
    """

    title: str
    measure: str
    metric: str
    conditions: tuple[str, ...] | None
    swept: bool = False
    least: bool = False

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
    Contest("accuracy under warps, mean of families %", "affine", "area under the curve", None),
    Contest("error on novel viewpoints %", "viewpoint", "error", ("novel",), least=True),
    Contest("error on overlapping objects %", "overlap", "error", ("image",), least=True),
    Contest("predictions kept under transformations %", "equivariance", "consistency", ("all",)),
    Contest("worst case of attacks, L∞ %", "adversarial", "robust accuracy", ("Linf, worst case",), swept=True),
)


def _table(material: Material) -> pd.DataFrame:
    """One row a budget and contest of two contenders or more."""
    numbers = {contest: contest.numbers(material) for contest in CONTESTS}
    made = [
        line
        for group in groups_of(material)
        for contest, found in numbers.items()
        for line in _contested(
            contest, group, {name: found[name] for name in group.contenders.index if name in found}, material.pairs
        )
    ]
    if not made:
        raise NoDataError("there are no two networks to compare")
    return pd.DataFrame(made)


def _contested(contest: Contest, group: Group, numbers: Numbers, pairs: Pairs) -> Iterator[dict[str, Any]]:
    if len(numbers) < 2:
        return
    means = {name: interval([value for _, value in own.values()]) for name, own in numbers.items()}
    sign = -1 if contest.least else 1
    first, *others = sorted(numbers, key=lambda name: sign * means[name][0], reverse=True)
    # The first was chosen for being first, so that each of its comparisons counts as all that there could have been.
    comparisons = len(numbers) * (len(numbers) - 1) / 2
    behind = {}
    for name in others:
        apart = _difference(contest, numbers[first], numbers[name], pairs)
        if apart is not None and apart.seeds >= FEWEST_SEEDS and apart.p * comparisons < ALPHA:
            behind[name] = sign * apart.mean
    level = [name for name in others if name not in behind]
    mean, half = means[first]
    yield {
        "on": group.title,
        "measured": contest.title,
        "first": first,
        "first_name": group.label(first),
        "value": 100 * mean,
        "ci95": 100 * half,
        "n": len(numbers[first]),
        "not_told_apart": BETWEEN.join(map(group.label, level)),
        "behind": BETWEEN.join(map(group.label, behind)),
        "behind_by": 100 * min(behind.values(), default=math.nan),
        "cheapest": _cheapest(group, [first, *level]) if len(numbers[first]) >= FEWEST_SEEDS else "",
    }


def _difference(contest: Contest, one: OfSeeds, other: OfSeeds, pairs: Pairs) -> Difference | None:
    """One number less the other, as a fraction; None of contenders without a seed in common."""
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return None
    if contest is ACCURACY:
        cells = [{seed: own[seed][0] for seed in seeds} for own in (one, other)]
        return pairs.difference(cells[0], cells[1], dict([*one.values(), *other.values()]))
    return paired_seeds([one[seed][1] for seed in seeds], [other[seed][1] for seed in seeds])


def _cheapest(group: Group, contenders: list[str]) -> str:
    """Of the contenders that are not told apart from the first, the one of the least FLOPs an image."""
    if "flops" not in group.contenders:
        return ""
    costs = group.contenders.loc[contenders, "flops"].dropna()
    return f"{group.label(str(costs.idxmin()))}, {si(costs.min())}" if len(costs) else ""


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    numbers = zip(table["value"], table["ci95"], strict=True)
    behind = zip(table["behind"], table["behind_by"], strict=True)
    shown = pd.DataFrame(
        {
            "on": table["on"].where(~table["on"].duplicated(), ""),
            "measured": table["measured"],
            "first": table["first_name"],
            "value": [with_interval(mean, half, 1) for mean, half in numbers],
            "n": table["n"].map(str),
            "not told apart from": table["not_told_apart"].map(_named),
            "ahead of": [f"{_named(names)} by {gap:.1f} or more" if names else "" for names, gap in behind],
            CHEAPEST: table["cheapest"],
        }
    )
    return shown.drop(columns=[name for name in ("ahead of", CHEAPEST) if not shown[name].any()])


def _named(names: str) -> str:
    each = names.split(BETWEEN)
    more = len(each) - MOST_NAMED
    return BETWEEN.join(each[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


SECTION = Section(
    name="winners",
    title="Who won",
    caption=(
        "Of each number the contender with the best mean, and which others it is shown to be ahead of: a paired test (over "
        f"images and seeds for the test accuracy, else over seeds), p < {ALPHA:g} after correction for all pairs that there are, "
        f"and {FEWEST_SEEDS} seeds or more. All others may be as good. Cheapest: of the first and those not told apart from it, "
        "the one of the least arithmetic an image."
    ),
    table=_table,
    readable=_readable,
)
