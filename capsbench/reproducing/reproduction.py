"""The result of `capsbench.reproduce`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pandas as pd

from capsbench.errors import EXIT_REGRESSION
from capsbench.presenting.notebook import Displayed, Grid, Output
from capsbench.reporting.sections.published import INSIDE, readable, table_of
from capsbench.reporting.sections.published import Comparison as PublishedComparison
from capsbench.reproducing.differences import Difference
from capsbench.reproducing.numbers import Agreement, ComparedNumber
from capsbench.running.outcome import Outcome

SHORT = 12
"""The digits of a commit that are shown."""

JUDGED_OTHER = (Agreement.WITHIN, Agreement.OUTSIDE, Agreement.MISSING)
"""The agreements of numbers that are not the same, and that decide."""


class Verdict(StrEnum):
    """The result of a reproduction as a whole."""

    SAME = "the same bits"
    WITHIN = "within the interval"
    OTHER = "not reproduced"
    OPEN = "not finished"  # the run was interrupted, or cells failed


@dataclass(repr=False)
class Reproduction(Displayed):
    """The result of a reproduction.

    Attributes:
        name: the row, ``sabour2017:5``, or the folder and the cell of a record.
        title: the row or the cell in words.
        outcome: that of the run.
        notes: what of the paper's protocol differs, and what was not taken again; a sentence each.
        numbers: of a record, each number and its reproduction.
        other_epoch: of a record, the first epoch in which the training curves differ; None if they are the same.
        same_weights: of a record, whether the weights have the same digest; None if it is not on record.
        differences: of a record, the fields, versions and facts of the machine that differ.
        same_bits_expected: of a record, whether cell, machine, software, versions and commit are the same.
        published: of a row, what was measured beside what was published.
    """

    name: str
    title: str
    outcome: Outcome
    notes: list[str] = field(default_factory=list)
    numbers: list[ComparedNumber] = field(default_factory=list)
    other_epoch: int | None = None
    same_weights: bool | None = None
    differences: list[Difference] = field(default_factory=list)
    same_bits_expected: bool = False
    published: list[PublishedComparison] = field(default_factory=list)

    @property
    def interrupted(self) -> bool:
        return self.outcome.interrupted

    @property
    def verdict(self) -> Verdict:
        """The verdict on all numbers; a number without an interval counts only against the same bits."""
        if self.outcome.left or self.outcome.failed:
            return Verdict.OPEN
        if self.published or not self.numbers:
            is_inside = bool(self.published) and all(each.verdict.startswith(INSIDE) for each in self.published)
            return Verdict.WITHIN if is_inside else Verdict.OTHER
        counts = self.count()
        is_same = not (counts.keys() - {Agreement.SAME, Agreement.TIME})
        if is_same and self.other_epoch is None and self.same_weights is not False:
            return Verdict.SAME
        if counts[Agreement.OUTSIDE] or counts[Agreement.MISSING] or not self._has_judged():
            return Verdict.OTHER
        return Verdict.WITHIN

    @property
    def exit_code(self) -> int:
        """0 for the same bits or numbers within their intervals, else 1."""
        return 0 if self.verdict in (Verdict.SAME, Verdict.WITHIN) else EXIT_REGRESSION

    def count(self) -> Counter[Agreement]:
        """Returns agreement -> the number of numbers."""
        return Counter(number.agreement for number in self.numbers)

    def _has_judged(self) -> bool:
        """Returns true if any number of a measure is the same or within its interval: other bits alone show nothing."""
        agreeing = (Agreement.SAME, Agreement.WITHIN)
        return any(number.agreement in agreeing and number.measure != "training" for number in self.numbers)

    def describe(self) -> list[str]:
        """Returns the result in lines, the verdict last."""
        lines = self._describe_bits() if self.numbers else []
        lines += [f"note: {note}" for note in self.notes]
        return [*lines, f"{self.name}: {self.verdict}"]

    def _describe_bits(self) -> list[str]:
        counts, times = self.count(), self.count()[Agreement.TIME]
        words = {
            Agreement.SAME: "the same bits",
            Agreement.WITHIN: "within the interval",
            Agreement.OUTSIDE: "outside",
            Agreement.OPEN: "other bits without an interval",
            Agreement.MISSING: "missing",
        }
        told = [f"{counts[agreement]} {text}" for agreement, text in words.items() if counts[agreement]]
        curve = "the same" if self.other_epoch is None else f"another from epoch {self.other_epoch} on"
        weights = {True: "the same", False: "others", None: "not on record"}[self.same_weights]
        lines = [
            f"numbers: {', '.join(told)}" + (f"; {times} times and memory are not compared" if times else ""),
            f"training curve: {curve}; weights: {weights}",
        ]
        lines += self._describe_open()
        lines += [
            f"{name}: {_shorten(recorded)} on record, {_shorten(here)} here"
            for name, recorded, here in self.differences
        ]
        if self.same_bits_expected and self.verdict is not Verdict.SAME:
            lines.append("cell, machine, software, versions and commit are the same: the same bits were expected")
        return lines

    def _describe_open(self) -> list[str]:
        """Returns a line for each measure with other numbers that have no interval, and how far they are away."""
        shares: dict[str, list[float]] = {}
        for each in self.numbers:
            if each.agreement is Agreement.OPEN and each.reproduced is not None:
                scale = max(abs(each.recorded), abs(each.reproduced))
                shares.setdefault(each.measure, []).append(abs(each.reproduced - each.recorded) / scale)
        return [
            f"{measure}: {len(values)} numbers without an interval are others, by at most {max(values):.1g} of their value"
            for measure, values in shares.items()
        ]

    def to_table(self, everything: bool = False) -> Grid | None:
        """Returns the numbers as strings: the published ones, or those of a record that are judged and differ, or all."""
        if self.published:
            return Grid.from_strings(readable(self.published), self.title)
        shown = [number for number in self.numbers if everything or number.agreement in JUDGED_OTHER]
        rows = [
            [each.title, _spell(each.recorded), _spell(each.reproduced), _spell_interval(each), each.agreement]
            for each in shown
        ]
        return Grid(["number", "on record", "here", "interval", ""], rows) if rows else None

    def to_facts(self) -> dict[str, Any]:
        """Returns the result as values of JSON."""
        numbers = [{**vars(number), "title": number.title} for number in self.numbers]
        return {
            "name": self.name,
            "title": self.title,
            "verdict": str(self.verdict),
            "numbers": numbers,
            "other_epoch": self.other_epoch,
            "same_weights": self.same_weights,
            "same_bits_expected": self.same_bits_expected,
            "differences": [each._asdict() for each in self.differences],
            "published": _to_plain(table_of(self.published)),
            "notes": self.notes,
        }

    def describe_output(self) -> Output:
        """Returns the verdict, the numbers and what differs."""
        *items, lead = self.describe()
        table = self.to_table()
        return Output(lead, items=items, tables=[] if table is None else [table])

    def describe_end(self) -> str:
        """Returns the verdict, and what is left of the run."""
        return f"{self.name}: {self.verdict}; {self.outcome.describe_end()}"


def _to_plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns the rows of a table as values of JSON, None for what is missing."""
    cells = table.astype(object)
    rows = cells.where(cells.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _spell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _spell_interval(number: ComparedNumber) -> str:
    return "" if number.low is None or number.high is None else f"[{number.low:.4g}, {number.high:.4g}]"


def _shorten(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text[:SHORT] if len(text) == 40 and set(text) <= set("0123456789abcdef") else text
