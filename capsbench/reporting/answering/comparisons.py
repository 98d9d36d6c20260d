"""The numbers of an answer: one row a contender, rival and number, with the verdict of the rest of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from statistics import fmean
from typing import Any

import pandas as pd

from capsbench.measures.soundness import find_failed_checks
from capsbench.presenting.marks import COLLAPSED, SHARED, has_mark, marks_of
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.naming import BUDGET
from capsbench.presenting.tuned import find_shared_search, identify_contender
from capsbench.presenting.verdicts import SECOND
from capsbench.presenting.words import shorten_name, spell_value
from capsbench.records.cell import fields_of
from capsbench.records.declaration import Role
from capsbench.records.tuning import SEARCH, TUNED
from capsbench.records.tuning.convergence import AUTO_EPOCHS
from capsbench.reporting.answering.contenders import (
    OTHER_BUDGET,
    SAME_BUDGET,
    SAME_SEARCH,
    Choice,
    choose_asked,
    choose_rivals,
    find_validation,
    list_names_in_task,
)
from capsbench.reporting.sections.budget import Group, groups_of
from capsbench.reporting.sections.contests import Number, Values, find_step, judge_difference, list_numbers
from capsbench.stats.differences import estimate_interval
from capsbench.stats.verdicts import Outcome, Verdict

SAME = "same"
"""Two networks that are alike."""

MACHINE, TIMED = "machine", ("training_step_ms", "inference_ms")
COSTS = {
    "parameters": "parameters",
    "flops": "FLOPs",
    "training_step_ms": "time of a training step",
    "inference_ms": "time of inference",
}
"""Costs of the summary, of which the answer has ratios -> their names."""


class Result(StrEnum):
    """The result of a comparison, from the contender's side."""

    BETTER = "better"
    WORSE = "worse"
    NOT_SIGNIFICANT = "not significant"
    NOT_TESTED = "not tested"
    DOUBTFUL = "undecided"  # a sanity check failed of the attacks on the better one
    KEPT_OUT = "kept out"  # one of them has collapsed


@dataclass(frozen=True)
class Row:
    """A number of a contender beside that of a rival.

    Attributes:
        on: the task and the budget.
        contender, contender_name: the contender.
        settings: the number of contenders that the name fits, among which this one has the best validation accuracy.
        validation, next_validation: that accuracy and the best of the others, in per cent; nan if not all are on record.
        contender_marks: the names of its marks.
        unit_of_n: ``seed``, or ``study`` of a tuned contender.
        rival, rival_name, rival_settings, rival_validation, rival_marks: the same of the rival; empty if there is none.
        network: `SAME`, or the rival's; empty where a CNN is compared.
        budget: the fields in which the budgets differ; empty if none.
        tuning: how the two were tuned, if it differs.
        epochs: the epochs of the two that one rule found, such as ``60 against 30``; empty if they were not searched for.
        unlike: the facts in which two trainings of a seed differ.
        measured: the number, as in "who won", or a cost.
        value, value_ci95, value_n: of the contender, over its own seeds or studies.
        rival_value: of the rival.
        difference, ci95: the contender's number minus the rival's, and the half-width of its interval, adjusted as the verdict.
        ratio: of a cost, the contender's by the rival's.
        higher_is_better: the direction of the number.
        n: pairs of seeds or studies; of a difference without a test, those of the side with fewer.
        family, p, seeds_needed, images_needed: of the verdict.
        result: a `Result`; empty for costs.
    """

    on: str
    dataset: str
    contender: str
    contender_name: str
    settings: int
    validation: float
    next_validation: float
    contender_marks: str
    unit_of_n: str
    rival: str = ""
    rival_name: str = ""
    rival_settings: int = 0
    rival_validation: float = math.nan
    rival_marks: str = ""
    network: str = ""
    budget: str = ""
    tuning: str = ""
    epochs: str = ""
    unlike: str = ""
    measured: str = ""
    value: float = math.nan
    value_ci95: float = math.nan
    value_n: int = 0
    rival_value: float = math.nan
    difference: float = math.nan
    ci95: float = math.nan
    ratio: float = math.nan
    higher_is_better: bool = True
    n: int = 0
    family: str = ""
    p: float = math.nan
    seeds_needed: int | None = None
    images_needed: int | None = None
    result: str = ""


def build_table(material: Material) -> pd.DataFrame:
    """Returns one row for each contender that is asked about, rival and number; raises NoDataError if none is."""
    if material.asked is None:
        raise NoDataError("a contender", "was not asked about")
    pairs = _Pairs(material)
    validation = find_validation(material)
    rows: list[Row] = []
    for task, choices in choose_asked(material, material.asked):
        for choice in choices:
            base = pairs.describe_contender(choice)
            rivals = choose_rivals(material.summary, task, choice, validation, pairs.compare_budgets)
            compared = [row for rival in rivals for row in pairs.compare(base, rival)]
            rows += compared or [Row(**base)]
    return pd.DataFrame([asdict(row) for row in rows]).astype({"seeds_needed": "Int64", "images_needed": "Int64"})


class _Pairs:
    """Compares contenders of a material, two at a time."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self.summary = material.summary.assign(bare=list_names_in_task(material.summary)).set_index(
            "contender", drop=False
        )
        self.cells = spell_epochs(material.cells.drop_duplicates("contender").set_index("contender"))
        self.marks = dict(zip(self.summary.index, marks_of(self.summary), strict=True))
        self.collapsed = has_mark(self.summary, COLLAPSED)
        self.groups: dict[str, Group] = {
            contender: group for group in groups_of(material) for contender in group.contenders.index
        }

    @cached_property
    def values(self) -> dict[Number, Values]:
        return {number: number.find_values(self.material) for number in list_numbers(self.material.specs)}

    @cached_property
    def epochs(self) -> Mapping[str, list[int]]:
        """Contender -> the epochs that were found for it, of each of its networks."""
        epochs: dict[str, list[int]] = {}
        for record in self.material.converged:
            if record.convergence is not None:
                epochs.setdefault(identify_contender(record), []).append(record.convergence.epochs)
        return epochs

    @cached_property
    def unsound(self) -> Mapping[str, list[str]]:
        return find_failed_checks(self.material)

    def are_alike(self, one: str, other: str) -> bool:
        """Returns true for two contenders of one budget, of training and of tuning."""
        return not self.describe_budgets(one, other) and not self.describe_tuning(one, other)

    def compare_budgets(self, one: str, other: str) -> int:
        """Returns how far apart the budgets of two contenders are, see `CompareBudgets`."""
        if not self.are_alike(one, other):
            return OTHER_BUDGET
        return SAME_SEARCH if self._find_search(one) == self._find_search(other) else SAME_BUDGET

    def describe_contender(self, choice: Choice) -> dict[str, Any]:
        """Returns the columns that all rows of a contender share."""
        contender = choice.contender
        others = [value for name, value in choice.validation.items() if name != contender]
        return {
            "on": self.groups[contender].title,
            "dataset": str(self.summary.loc[contender, "dataset"]),
            "contender": contender,
            "contender_name": str(self.summary.loc[contender, "bare"]),
            "settings": len(choice.among),
            "validation": 100 * choice.validation.get(contender, math.nan),
            "next_validation": 100 * max(others, default=math.nan),
            "contender_marks": self._spell_marks(contender),
            "unit_of_n": "study" if self._find_tuning(contender) else "seed",
        }

    def describe_budgets(self, one: str, other: str) -> str:
        """Returns ``epochs 10 against 30``: the fields of the budget in which two contenders differ."""
        first, second = self.cells.loc[one], self.cells.loc[other]
        differing = [
            f"{name.replace('_', ' ')} {spell_value(first[name])} against {spell_value(second[name])}"
            for name in BUDGET
            if name in self.cells and not _are_equal(first[name], second[name])
        ]
        return ", ".join(differing)

    def describe_tuning(self, one: str, other: str) -> str:
        """Returns ``tuned (20 trials) against untuned`` where two contenders were not tuned alike; else nothing."""
        marks = [self._find_tuning(name) for name in (one, other)]
        if marks[0] == marks[1]:
            return ""
        return " against ".join(f"tuned with {mark.strip('()')}" if mark else "untuned" for mark in marks)

    def compare(self, base: Mapping[str, Any], rival: Choice) -> list[Row]:
        """Returns the rows of a contender and a rival: the numbers that both have, then costs."""
        one, other = str(base["contender"]), rival.contender
        shared = {
            **base,
            "rival": other,
            "rival_name": str(self.summary.loc[other, "bare"]),
            "rival_settings": len(rival.among),
            "rival_validation": 100 * rival.validation.get(other, math.nan),
            "rival_marks": self._spell_marks(other),
            "network": self._compare_networks(one, other),
            "budget": self.describe_budgets(one, other),
            "tuning": self.describe_tuning(one, other),
            "epochs": self._compare_epochs(one, other),
            "unlike": ", ".join(self.material.verdicts.unlike(one, other)),
        }
        rows = [
            Row(**shared, **self._compare_number(number, values, one, other))
            for number, values in self.values.items()
            if one in values and other in values
        ]
        return [*rows, *(Row(**shared, **cost) for cost in self._compare_costs(one, other))]

    def _compare_number(self, number: Number, values: Values, one: str, other: str) -> dict[str, Any]:
        sides = [[value.value for value in values[name].values()] for name in (one, other)]
        kept_out = number.contest.excludes_collapsed and bool(self.collapsed[one] or self.collapsed[other])
        competing = self._find_competing(number, values, one)
        verdict = None
        if self.are_alike(one, other) and not kept_out:
            verdict = judge_difference(number, values, one, other, find_step(competing), self.material.verdicts)
        result = self._find_result(number, verdict, one, other)
        mean, half = estimate_interval(sides[0], find_step({one: values[one]}))
        numbers: dict[str, Any] = {
            "measured": number.title,
            "value": number.factor * mean,
            "value_ci95": number.factor * half,
            "value_n": len(sides[0]),
            "rival_value": number.factor * fmean(sides[1]),
            "difference": number.factor * (mean - fmean(sides[1])),
            "higher_is_better": bool(number.metric.higher_is_better),
            "n": min(map(len, sides)),
            "result": str(Result.KEPT_OUT if kept_out else result),
        }
        if verdict is None:
            return numbers
        family = self.material.verdicts.family(one, other) if number.is_test_accuracy else SECOND
        return {
            **numbers,
            "difference": number.factor * verdict.difference.mean,
            "ci95": number.factor * verdict.half,
            "n": verdict.difference.seeds,
            "family": family,
            "p": verdict.p,
            "seeds_needed": verdict.seeds_needed,
            "images_needed": verdict.images_needed,
        }

    def _find_competing(self, number: Number, values: Values, contender: str) -> Values:
        """Returns the values of the contenders of a budget that take part in "who won", whose step all comparisons share."""
        group = [name for name in self.groups[contender].contenders.index if name in values]
        competing = [name for name in group if not (number.contest.excludes_collapsed and self.collapsed[name])]
        return {name: values[name] for name in competing or group}

    def _find_result(self, number: Number, verdict: Verdict | None, one: str, other: str) -> Result:
        if verdict is None or verdict.outcome is Outcome.NOT_TESTED:
            return Result.NOT_TESTED
        if verdict.outcome is Outcome.NOT_SIGNIFICANT:
            return Result.NOT_SIGNIFICANT
        better = (verdict.difference.mean > 0) == number.metric.higher_is_better
        if number.contest.at_headline_bound and (one if better else other) in self.unsound:
            return Result.DOUBTFUL
        return Result.BETTER if better else Result.WORSE

    def _compare_costs(self, one: str, other: str) -> list[dict[str, Any]]:
        """Returns the costs that both have; times only if they were taken on one machine, and beside no other jobs."""
        rows = []
        for column, title in COSTS.items():
            if column not in self.summary or (column in TIMED and not self._share_machine(one, other)):
                continue
            costs = self.summary[column].astype(float)
            value, rival_value = (float(costs[name]) for name in (one, other))
            if rival_value > 0 and not math.isnan(value):
                rows.append(
                    {
                        "measured": title,
                        "value": value,
                        "rival_value": rival_value,
                        "ratio": value / rival_value,
                        "higher_is_better": False,
                    }
                )
        return rows

    def _compare_epochs(self, one: str, other: str) -> str:
        """Returns the epochs that the same search found for the two, ``60 against 30``; nothing where there was none."""
        sides = [self.epochs.get(name, []) for name in (one, other)]
        if not all(sides) or not self.are_alike(one, other):
            return ""
        ranges = [f"{low} to {high}" if (low := min(side)) != (high := max(side)) else f"{low}" for side in sides]
        return " against ".join(ranges)

    def _share_machine(self, one: str, other: str) -> bool:
        fields = [name for name in fields_of(Role.MACHINE) if name in self.cells]
        alike = all(_are_equal(self.cells.loc[one, name], self.cells.loc[other, name]) for name in fields)
        shared = SHARED in self.marks[one] or SHARED in self.marks[other]
        verdicts = self.material.verdicts
        return alike and not shared and verdicts.share_seeds(one, other) and MACHINE not in verdicts.unlike(one, other)

    def _compare_networks(self, one: str, other: str) -> str:
        rows = self.summary.loc[[one, other]]
        if rows["routing"].isna().any():
            return ""
        networks = rows["network"].tolist()
        return SAME if networks[0] == networks[1] else shorten_name(networks[1])

    def _find_search(self, contender: str) -> str:
        """Returns what the contenders of a search share; empty of one that is not tuned."""
        search: Any = self.cells.loc[contender, SEARCH] if SEARCH in self.cells else None
        return "" if pd.isna(search) else find_shared_search(str(search))

    def _find_tuning(self, contender: str) -> str:
        mark: Any = self.cells.loc[contender, TUNED] if TUNED in self.cells else None
        return "" if pd.isna(mark) else str(mark)

    def _spell_marks(self, contender: str) -> str:
        return ", ".join(mark.name.replace("_", " ") for mark in self.marks[contender])


def spell_epochs(cells: pd.DataFrame) -> pd.DataFrame:
    """Returns cells with the epochs of their budget: where they were searched for, ``auto from 30``."""
    if AUTO_EPOCHS not in cells:
        return cells
    return cells.assign(
        epochs=cells["epochs"].astype(object).where(cells[AUTO_EPOCHS].isna(), "auto from " + cells["epochs"].map(str))
    )


def _are_equal(one: Any, other: Any) -> bool:
    return bool(pd.isna(one) and pd.isna(other)) or one == other
