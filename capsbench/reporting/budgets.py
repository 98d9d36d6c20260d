"""Contenders of one budget (data, size, epochs, seeds), and when a difference between them counts as one.

A statement is ``supported`` or ``refuted`` where the 95 % t-interval over seeds of what it is about lies wholly on one side, and
``undecided`` otherwise and for fewer than `FEWEST` seeds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd
from scipy import stats

from capsbench.cell import Cell
from capsbench.reporting.section import Material
from capsbench.reporting.tables import UNPAIRED

MARGIN = 1.0
"""Points of accuracy that count as no difference."""

FEWEST = 3
"""Seeds that a verdict needs: of two, which may agree by chance to the last image, an interval says little."""


class Estimate(NamedTuple):
    """A mean over seeds with the half-width of its 95 % t-interval, infinite for one seed."""

    mean: float
    half: float
    n: int

    @classmethod
    def of(cls, values: pd.Series) -> Estimate:
        n = len(values)
        half = float(values.sem() * stats.t.ppf(0.975, n - 1)) if n > 1 else math.inf
        return cls(float(values.mean()), half, n)

    def shown(self, unit: str = " %", sign: str = "") -> str:
        interval = f" ± {self.half:.1f}" if self.n > 1 else ""
        return f"{self.mean:{sign}.1f}{interval}{unit}"


class Group:
    """The contenders of one budget, with their numbers.

    Args:
        rows: their rows (`Material.rows`).
        material: what they are of.
    """

    def __init__(self, rows: pd.DataFrame, material: Material) -> None:
        self.rows = rows
        first = rows.iloc[0]
        self.dataset, self.size, self.stop_at = str(first["dataset"]), str(first["size"]), float(first["stop_at"])
        few = "" if pd.isna(first["train_size"]) else f"[{int(first['train_size'])}]"
        stopped = f", stopped at {self.stop_at:g}" if self.stop_at else ""
        self.title = f"{self.dataset}{few}, {self.size}, {int(first['epochs'])} epochs{stopped}"
        own = material.summary[material.summary["contender"].isin(rows["contender"])]
        self.contenders = own.set_index("contender", drop=False)

    def which(self, **wanted: object) -> list[str]:
        """The contenders of which each named column of the summary, or option of their rows, has that value."""
        table = self.rows.drop_duplicates("contender").set_index("contender")
        for name, value in wanted.items():
            column = name.replace("__", ".")
            if column not in table:
                return []
            table = table[table[column].notna() if value is any else table[column] == value]
        return [name for name in self.contenders.index if name in table.index]

    def label(self, contender: str) -> str:
        return str(self.contenders.loc[contender, "label"])

    def values(
        self, contender: str, measure: str, metric: str, condition: str, level: float | None = None
    ) -> pd.Series:
        """A number of each seed, in per cent."""
        rows = self.rows
        chosen = (rows["contender"] == contender) & (rows["measure"] == measure) & (rows["metric"] == metric)
        chosen &= rows["condition"] == condition
        if level is not None:
            chosen &= (rows["level"] - level).abs() < 1e-6
        return 100 * rows[chosen].drop_duplicates("seed").set_index("seed")["value"].astype(float)

    def accuracy(self, contender: str) -> pd.Series:
        return self.values(contender, "accuracy", "accuracy", "test")

    def reached(self, contender: str) -> bool:
        """Whether every seed of it has the validation accuracy that training was to stop at."""
        reached = self.values(contender, "accuracy", "accuracy", "validation")
        return len(reached) > 0 and float(reached.min()) >= 100 * self.stop_at

    def at_full_size(self, verdict: str) -> str:
        """A verdict on a number alone, which a smaller network or less data cannot give."""
        return verdict if self.size == "paper" and self.rows["train_size"].isna().all() else "undecided"

    def capsules(self) -> list[str]:
        return self.which(routing=any)

    def cnns(self) -> list[str]:
        return [name for name in self.contenders.index if pd.isna(self.contenders.loc[name, "routing"])]


def above(estimate: Estimate, threshold: float = 0.0) -> str:
    """Whether a number is above a threshold."""
    if estimate.n < FEWEST:
        return "undecided"
    if estimate.mean - estimate.half > threshold:
        return "supported"
    return "refuted" if estimate.mean + estimate.half < threshold else "undecided"


def nothing(estimate: Estimate) -> str:
    """Whether a difference is not one in favour of what is said to have no advantage."""
    if estimate.n < FEWEST:
        return "undecided"
    if estimate.mean + estimate.half < MARGIN:
        return "supported"
    return "refuted" if estimate.mean - estimate.half > 0 else "undecided"


def near(estimate: Estimate, published: float, tolerance: float) -> str:
    """Whether a number is within a tolerance of the published one."""
    if estimate.n < FEWEST:
        return "undecided"
    low, high = estimate.mean - estimate.half, estimate.mean + estimate.half
    if published - tolerance <= low and high <= published + tolerance:
        return "supported"
    return "refuted" if high < published - tolerance or low > published + tolerance else "undecided"


def difference(one: pd.Series, other: pd.Series) -> Estimate | None:
    """One number less another over the seeds that both have; None where there is none."""
    paired = (one - other).dropna()
    return Estimate.of(paired) if len(paired) else None


def groups_of(material: Material) -> list[Group]:
    """The contenders by budget: all that is in none of `UNPAIRED`."""
    rows = material.rows
    budget = [name for name in Cell.model_fields if name not in UNPAIRED and name in rows]
    return [Group(part, material) for _, part in rows.groupby(budget, dropna=False, sort=False)]
