"""`capsbench compare`: common contenders of two folders of records, their differences, and what cannot be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from capsbench.comparing.changes import CHANGE_COLUMNS, Change, ChangeFinder
from capsbench.comparing.obstacles import find_obstacles
from capsbench.comparing.side import (
    Contender,
    Number,
    NumbersBySeed,
    Side,
    collect_by_seed,
    make_steps,
    match_contenders,
    read_side,
    title_contenders,
    title_side_cells,
)
from capsbench.presenting.format import spell_seeds
from capsbench.presenting.notebook import Displayed, Grid, Output
from capsbench.presenting.paired import Kept, Pairs
from capsbench.records.folder import allow_own
from capsbench.records.specs import find_unrepeatable, specs_of
from capsbench.records.store import Store

PROVENANCE = (
    "capsbench", "commit", "dirty", "python", "torch", "numpy", "numba", "triton", "cuda", "cpu", "gpu", "cores",
)  # fmt: skip
"""The facts of machine and software that are compared."""


@dataclass(repr=False)
class Comparison(Displayed):
    """The result of `compare`.

    Attributes:
        matched: number of contenders on both sides.
        equal: number of those whose numbers are the same to the last bit, times and memory apart.
        changes: one row for each number that differs, with `CHANGE_COLUMNS`; ``p_holm`` is adjusted for all tests here, those of
            times and memory (``timed``) by themselves, and ``holds`` is true if it is below `ALPHA`, for three seeds or more or
            for two networks image by image.
        only_a, only_b: titles of contenders on one side; for contenders on both, the seeds and numbers that one side has alone.
        not_comparable: what is on both sides and cannot be compared, with the reason.
        provenance: facts of machine and software that differ: name -> (A's, B's).
        faults: a line for each record that could not be read or that failed.
    """

    a: str
    b: str
    matched: int = 0
    equal: int = 0
    changes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=CHANGE_COLUMNS))
    only_a: list[str] = field(default_factory=list)
    only_b: list[str] = field(default_factory=list)
    not_comparable: list[tuple[str, str]] = field(default_factory=list)
    provenance: dict[str, tuple[str, str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """True if nothing differs but times and memory."""
        return bool(self.changes["timed"].all()) and not (self.only_a or self.only_b or self.not_comparable)

    def describe_output(self) -> Output:
        """Returns the summary and the significant changes."""
        from capsbench.comparing.formats import changes_readable, summary_of

        lead, *items = summary_of(self)
        changes = changes_readable(self)
        tables = [Grid.from_strings(changes, f"B - A: {self.b} against {self.a}")] if len(changes) else []
        return Output(f"A: {self.a}, B: {self.b}: {lead}", items=items, tables=tables)


def compare(a: str | Path, b: str | Path, *, allow_code: bool = False) -> Comparison:
    """Compares two folders of records.

    Args:
        allow_code: import a user's own parts that the records name, for what their defaults say in titles.

    Raises:
        UsageError: one of them is not there, or has no record that can be read.
    """
    if allow_code:
        allow_own(Store(a), Store(b))
    sides = read_side(a, "A"), read_side(b, "B")
    comparison = Comparison(str(a), str(b), provenance=_compare_provenance(*sides))
    comparison.faults = [
        f"{name}: {line}" for name, side in zip("AB", sides, strict=True) for line in _list_faults(side)
    ]
    titles, cells = title_contenders(*sides), title_side_cells(*sides)
    unrepeatable = find_unrepeatable(specs_of([*sides[0].records, *sides[1].records]))
    finder = ChangeFinder(cells, Pairs(_join_kept(*sides)), make_steps(*sides, cells), unrepeatable)
    both = match_contenders(*sides)
    changes: list[Change] = []
    for one, other in both:
        pair = sides[0].contenders[one], sides[1].contenders[other]
        comparison.equal += _is_equal(*pair, unrepeatable)
        changes += _compare_contenders(comparison, titles[one], pair, sides, finder)
    comparison.matched = len(both)
    comparison.changes = finder.to_table(changes)
    for place, only in enumerate((comparison.only_a, comparison.only_b)):
        common = {identities[place] for identities in both}
        only += [titles[identity] for identity in sides[place].contenders if identity not in common]
        only.sort()
    return comparison


def _compare_contenders(
    comparison: Comparison,
    title: str,
    pair: tuple[Contender, Contender],
    sides: tuple[Side, Side],
    finder: ChangeFinder,
) -> list[Change]:
    """Returns the changes of a contender, and adds to the comparison what cannot be compared and what one side lacks."""
    obstacles = find_obstacles(*pair, sides)
    comparison.not_comparable += [
        (f"{title}: {obstacle.what}" if obstacle.what else title, obstacle.reason) for obstacle in obstacles
    ]
    if not all(obstacle.what for obstacle in obstacles):
        return []
    left_out = frozenset[str]().union(*(obstacle.measures for obstacle in obstacles))
    a, b = (collect_by_seed(contender, finder.cells) for contender in pair)
    comparison.only_a += [f"{title}: {excess}" for excess in _list_excess(a, b, left_out)]
    comparison.only_b += [f"{title}: {excess}" for excess in _list_excess(b, a, left_out)]
    failed = sides[0].failed_of(pair[0]), sides[1].failed_of(pair[1])
    return list(finder.find_changes(title, pair, (a, b), left_out, failed))


def _is_equal(a: Contender, b: Contender, unrepeatable: Collection[tuple[str, str]]) -> bool:
    """Returns true for the same cells with the same numbers to the last bit, times and memory apart."""

    def select_repeatable(contender: Contender) -> dict[int, Any]:
        return {
            seed: (record.cell, [row for row in record.rows if row[:2] not in unrepeatable])
            for seed, record in contender.records.items()
        }

    return select_repeatable(a) == select_repeatable(b)


def _list_faults(side: Side) -> list[str]:
    titles = title_side_cells(side)
    failed = [f"{titles[record.cell.id]} failed: {record.reason}" for record in side.failed]
    outdated = [
        f"{titles[record.cell.id]} failed when it was trained anew; its earlier numbers are shown: {record.reason}"
        for record in side.records
        if record.is_outdated
    ]
    return [*side.faults, *failed, *outdated]


def _join_kept(a: Side, b: Side) -> Kept:
    """Returns a reader of kept arrays that takes ``A CELL`` and ``B CELL``: a cell may be on both sides."""

    def read_kept(measure: str, cell: str) -> dict[str, NDArray[Any]]:
        name, _, identity = cell.partition(" ")
        return {"A": a, "B": b}[name].kept(measure, identity)

    return read_kept


def _list_excess(a: NumbersBySeed, b: NumbersBySeed, left_out: Collection[str]) -> Iterator[str]:
    """Yields the seeds and numbers that one contender has beside the other's; numbers of common seeds, if there are any."""
    common = sorted(a.keys() & b.keys())
    seeds = sorted(a.keys() - b.keys())
    if common and seeds:
        yield spell_seeds(seeds)
    if common:
        excess = set[Number]().union(*(a[seed].keys() - b[seed].keys() for seed in common))
    else:
        excess = set[Number]().union(*a.values()).difference(*b.values())
    counts = Counter(number.measure for number in excess if number.measure not in left_out)
    for measure, count in sorted(counts.items()):
        yield f"{'1 number' if count == 1 else f'{count} numbers'} of {measure}"


def _compare_provenance(a: Side, b: Side) -> dict[str, tuple[str, str]]:
    """Returns the facts of provenance that differ between the sides."""

    def join_values(side: Side, name: str) -> str:
        return " or ".join(sorted({str(record.provenance.get(name)) for record in side.records}))

    facts = {name: (join_values(a, name), join_values(b, name)) for name in PROVENANCE}
    return {name: values for name, values in facts.items() if values[0] != values[1]}
