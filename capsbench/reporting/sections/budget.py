"""Contenders of one budget (data, size, epochs, seeds), and when a difference between them counts as one.

A statement is ``supported`` or ``refuted`` where the interval of what it is about lies wholly on one side, ``undecided``
otherwise, and ``not tested`` for fewer than `FEWEST_SEEDS` seeds. The interval is that of the verdict on the pair, or at the
level of the second family (`capsbench.presenting.verdicts`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import pandas as pd

from capsbench.measures.accuracy.spec import TEST_ACCURACY
from capsbench.measures.soundness import mark_unsound
from capsbench.measures.transfer.spec import TRANSFER
from capsbench.presenting.format import format_interval, name_unit, spell_seeds_needed
from capsbench.presenting.material import Material
from capsbench.presenting.naming import BUDGET
from capsbench.presenting.shortlist import choose_most_accurate
from capsbench.presenting.words import spell_value
from capsbench.records.tuning import TUNED
from capsbench.records.tuning.convergence import AUTO_EPOCHS
from capsbench.stats.differences import ALPHA, FEWEST_SEEDS, estimate_interval, paired_seeds
from capsbench.stats.verdicts import Outcome, Verdict

MARGIN = 1.0
"""Points of accuracy that count as no difference."""


@dataclass(frozen=True)
class OfSeeds:
    """A number of each seed, in per cent.

    Attributes:
        by_seed: the numbers, the seeds the index.
        step: what they are multiples of, in per cent, 0 for nothing; None where it has to be guessed.
    """

    by_seed: pd.Series
    step: float | None = None

    def __len__(self) -> int:
        return len(self.by_seed)

    def complement(self) -> OfSeeds:
        """Returns 100 % minus the numbers: errors of accuracies."""
        return OfSeeds(100 - self.by_seed, self.step)

    def share_of(self, whole: OfSeeds) -> OfSeeds:
        """The number as a part of another one of the same images, over the seeds where that is not 0."""
        wholes = whole.by_seed[whole.by_seed > 0]
        step = None if self.step is None or wholes.empty else 100 * self.step / float(wholes.min())
        return OfSeeds((100 * self.by_seed / wholes).dropna(), step)


class Estimate(NamedTuple):
    """A mean over seeds, in per cent, with the half-width of its interval, infinite where nothing shows the spread.

    ``needed`` says how many seeds would show a difference that is not significant, such as ``12`` (`spell_seeds_needed`).
    """

    mean: float
    half: float
    n: int
    needed: str = ""

    @classmethod
    def of(cls, values: OfSeeds, level: float = ALPHA) -> Estimate:
        """Returns the mean of a number of each seed, with an interval at a level, by default the 95 % one."""
        n = len(values)
        if not n:
            return cls(math.nan, math.inf, 0)
        step = None if values.step is None else values.step / 100
        mean, half = estimate_interval((values.by_seed / 100).to_list(), step, level)
        return cls(100 * mean, math.inf if math.isnan(half) else 100 * half, n)

    @classmethod
    def of_verdict(cls, verdict: Verdict) -> Estimate:
        """Returns a difference with the interval of its family."""
        half = math.inf if math.isnan(verdict.half) else 100 * verdict.half
        needed = spell_seeds_needed(verdict.outcome, verdict.seeds_needed)
        return cls(100 * verdict.difference.mean, half, verdict.difference.seeds, needed)

    def shown(self, unit: str = " %", sign: str = "") -> str:
        half = self.half if math.isfinite(self.half) else math.nan
        needed = f" ({self.needed} seeds would show it)" if self.needed else ""
        return f"{format_interval(self.mean, half, 1, unit.strip(), sign)}{unit}{needed}"


class Numbers:
    """The numbers of all contenders, each looked up once.

    Args:
        material: what they are of.
    """

    def __init__(self, material: Material) -> None:
        self.material = material
        self.of = cache(self._of)

    @cached_property
    def transfer(self) -> pd.DataFrame:
        """The rows of transferred attacks, on all targets."""
        return self.material.select_rows(self.material.rows["measure"] == TRANSFER)

    def _of(self, measure: str, metric: str, condition: str, level: float | None = None) -> dict[str, OfSeeds]:
        """Contender -> that number."""
        rows = self.material.of_number(measure, metric)
        rows = rows[rows["condition"] == condition]
        if level is not None:
            rows = rows[(rows["level"] - level).abs() < 1e-6]
        if rows.empty:
            return {}
        rows = self.material.with_steps(rows)
        rows = rows.drop_duplicates(["contender", "seed"]).set_index("seed")
        return {
            str(name): OfSeeds(100 * part["value"], 100 * float(part["step"].max()))
            for name, part in rows.groupby("contender", sort=False)
        }


class Group:
    """The contenders of one budget, with their numbers.

    Args:
        cells: theirs (`Material.cells`).
        numbers: those of all contenders.
        material: what they are of.
        most: of more contenders than this, the group is the most accurate ones and their baselines.
    """

    def __init__(self, cells: pd.DataFrame, numbers: Numbers, material: Material, most: int | None = None) -> None:
        self.cells, self.numbers, self.verdicts = cells, numbers, material.verdicts
        self.described = cells.drop_duplicates("contender").set_index("contender")
        first = cells.iloc[0]
        self.dataset, self.size, self.stop_at = str(first["dataset"]), str(first["size"]), float(first["stop_at"])
        few = "" if pd.isna(first["train_size"]) else f"[{int(first['train_size'])}]"
        searched, epochs = first.get(AUTO_EPOCHS), int(first["epochs"])
        trained = (
            f"{epochs} epoch{'' if epochs == 1 else 's'}" if pd.isna(searched) else f"auto {searched} from {epochs}"
        )
        stopped = f", stopped at {self.stop_at:g}" if self.stop_at else ""
        trials = first.get(TUNED)
        self.unit_of_n = name_unit(trials)
        tuned = "not tuned" if pd.isna(trials) else f"tuned {trials}"
        self.title = f"{self.dataset}{few}, {self.size}, {trained}{stopped}, {tuned}"
        summary = material.summary[material.summary["contender"].isin(self.described.index)]
        if most is not None:
            summary, _ = choose_most_accurate(summary, most=most)
        self.contenders = summary.set_index("contender", drop=False)
        self._labels = dict(zip(summary["contender"], summary["label"], strict=True))

    def find_contenders(self, **wanted: object) -> list[str]:
        """Returns the contenders of which each named field or option has that value."""
        table = self.described
        for name, value in wanted.items():
            column = name.replace("__", ".")
            if column not in table:
                return []
            table = table[table[column].notna() if value is any else table[column] == value]
        return [name for name in self.contenders.index if name in table.index]

    def label(self, contender: str) -> str:
        return str(self._labels[contender])

    def values(self, contender: str, measure: str, metric: str, condition: str, level: float | None = None) -> OfSeeds:
        """A number of each seed, of none where it was not measured."""
        return self.numbers.of(measure, metric, condition, level).get(contender, OfSeeds(pd.Series(dtype=float)))

    def accuracy(self, contender: str) -> OfSeeds:
        return self.values(contender, *TEST_ACCURACY)

    def estimate(self, values: OfSeeds) -> Estimate:
        """Returns the mean of a number that a claim rests on, with an interval at the level of the second family."""
        return Estimate.of(values, ALPHA / self.verdicts.comparisons)

    def subtract(self, one: OfSeeds, other: OfSeeds) -> Estimate | None:
        """One number less another over the seeds that both have, in the second family; None where there is none."""
        both = pd.concat([one.by_seed, other.by_seed], axis="columns", join="inner").dropna() / 100
        if both.empty:
            return None
        sides = [both.iloc[:, place].to_list() for place in (0, 1)]
        step = None if one.step is None or other.step is None else max(one.step, other.step) / 100
        return Estimate.of_verdict(self.verdicts.judge(paired_seeds(sides[0], sides[1], step)))

    def accuracy_difference(self, one: str, other: str) -> Estimate | None:
        """One contender's test accuracy less another's, by the verdict on the pair; None where there is none."""
        verdict = self.verdicts.of_accuracy(one, other)
        return None if verdict is None else Estimate.of_verdict(verdict)

    def has_reached(self, contender: str) -> bool:
        """Returns true if every seed has the validation accuracy at which training was to stop."""
        reached = self.values(contender, *TEST_ACCURACY[:2], "validation")
        return len(reached) > 0 and float(reached.by_seed.min()) >= 100 * self.stop_at

    def at_full_size(self, verdict: str) -> str:
        """A verdict on a number alone, which a smaller network or less data cannot give."""
        if verdict == Outcome.NOT_TESTED:
            return verdict
        return verdict if self.size == "paper" and self.cells["train_size"].isna().all() else "undecided"

    def list_capsules(self) -> list[str]:
        return self.find_contenders(routing=any)

    def list_cnns(self) -> list[str]:
        return [name for name in self.contenders.index if pd.isna(self.contenders.loc[name, "routing"])]


def judge_above(estimate: Estimate, threshold: float = 0.0) -> str:
    """Returns the verdict on a number being above a threshold."""
    if estimate.n < FEWEST_SEEDS:
        return str(Outcome.NOT_TESTED)
    if estimate.mean - estimate.half > threshold:
        return "supported"
    return "refuted" if estimate.mean + estimate.half < threshold else "undecided"


def judge_no_advantage(estimate: Estimate) -> str:
    """Returns the verdict on a difference being no advantage: less than `MARGIN`."""
    if estimate.n < FEWEST_SEEDS:
        return str(Outcome.NOT_TESTED)
    if estimate.mean + estimate.half < MARGIN:
        return "supported"
    return "refuted" if estimate.mean - estimate.half > 0 else "undecided"


def judge_near(estimate: Estimate, published: float, tolerance: float) -> str:
    """Returns the verdict on a number being within a tolerance of the published one."""
    if estimate.n < FEWEST_SEEDS:
        return str(Outcome.NOT_TESTED)
    low, high = estimate.mean - estimate.half, estimate.mean + estimate.half
    if published - tolerance <= low and high <= published + tolerance:
        return "supported"
    return "refuted" if high < published - tolerance or low > published + tolerance else "undecided"


def groups_of(material: Material, most: int | None = None) -> list[Group]:
    """The contenders by budget: all of `BUDGET`, and the searches for settings and epochs; ``most`` as in `Group`.

    Budgets whose titles would be alike have in them the fields in which they differ, so that no table takes them for one.
    """
    cells, numbers = material.cells, Numbers(material)
    budget = [name for name in (*BUDGET, TUNED, AUTO_EPOCHS) if name in cells]
    if cells.empty:
        return []
    groups = [Group(part, numbers, material, most) for _, part in cells.groupby(budget, dropna=False, sort=False)]
    by_title: dict[str, list[Group]] = {}
    for group in groups:
        by_title.setdefault(group.title, []).append(group)
    for title, namesakes in by_title.items():
        values = pd.DataFrame([group.cells[budget].iloc[0] for group in namesakes])
        differing = [name for name in budget if values[name].nunique(dropna=False) > 1]
        for group in namesakes:
            row = group.cells.iloc[0]
            group.title = ", ".join([title, *(_spell_field(name, row[name]) for name in differing)])
    return groups


def pair_groups(material: Material, most: int | None = None) -> list[tuple[Group, Group]]:
    """The contenders by budget, each beside the same with the sign of failed sanity checks behind their names."""
    plain, marked = groups_of(material, most), mark_unsound(material)
    return [*zip(plain, plain if marked is material else groups_of(marked, most), strict=True)]


def _spell_field(name: str, value: Any) -> str:
    return f"{name.replace('_', ' ')} {spell_value(None if pd.isna(value) else value)}"
