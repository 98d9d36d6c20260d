"""`capsbench compare`: what two folders of records have in common, where they differ, and what cannot be compared."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from capsbench.comparing.data import other_data
from capsbench.comparing.side import (
    Contender,
    Number,
    Side,
    label_of,
    matched,
    numbers,
    other_hardware,
    read_side,
    steps_of,
    title_contenders,
    titles_of_cells,
)
from capsbench.measures.accuracy.spec import ACCURACY, TEST_ACCURACY
from capsbench.presenting.format import spell_seeds
from capsbench.presenting.paired import Kept, Pairs
from capsbench.presenting.steps import Steps
from capsbench.records.cell import DATA
from capsbench.records.folder import allow_own
from capsbench.records.specs import find_unrepeatable, specs_of
from capsbench.records.store import Store
from capsbench.registry import measure_name
from capsbench.sources import changed_parts
from capsbench.stats.differences import (
    ALPHA,
    FEWEST_SEEDS,
    Difference,
    adjust_by_holm,
    compare_unpaired_seeds,
    paired_seeds,
)

CHANGE_COLUMNS = [
    "contender", "title", "measure", "metric", "condition", "level", "unit", "timed", "a", "b", "difference", "half",
    "seeds_a", "seeds_b", "failed_a", "failed_b", "test", "p", "p_holm", "holds",
]  # fmt: skip


class Change(NamedTuple):
    """A number that is not the same on both sides: its means over seeds, b less a, and how that was tested.

    ``test`` is ``images`` (paired image by image and, of several seeds, seed by seed), ``seeds`` (paired seed by seed),
    ``unpaired`` (no seed in common), or ``none`` where too few seeds tell nothing. ``failed_a`` and ``failed_b`` count the
    seeds of the contender that failed.
    """

    contender: str
    title: str
    number: Number
    a: float
    b: float
    difference: Difference
    seeds_a: int
    seeds_b: int
    failed_a: int
    failed_b: int
    test: str


@dataclass
class Comparison:
    """What `compare` found.

    Attributes:
        matched: contenders that are on both sides.
        equal: those of them of which every number is the same to the last bit, times and memory apart.
        changes: one row a number that is not, with `CHANGE_COLUMNS`; ``p_holm`` is adjusted for all of the tests here, those of
            times and memory (``timed``) by themselves, and ``holds`` says whether it is below `ALPHA`, of three seeds or more or
            of two networks image by image.
        only_a, only_b: titles of contenders that one side alone has; and of those on both sides what else one alone has: seeds
            beside common ones, and numbers of a measure.
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
        """Whether there is no difference of any kind but in times and memory."""
        return bool(self.changes["timed"].all()) and not (self.only_a or self.only_b or self.not_comparable)


def compare(a: str | Path, b: str | Path, *, allow_code: bool = False) -> Comparison:
    """Two folders of records side by side.

    Args:
        allow_code: import a user's own parts that the records name, for what their defaults say in titles.

    Raises:
        UsageError: one of them is not there, or has no record that can be read.
    """
    if allow_code:
        allow_own(Store(a), Store(b))
    sides = read_side(a, "A"), read_side(b, "B")
    found = Comparison(str(a), str(b), faults=[f"A: {line}" for line in _faults(sides[0])])
    found.faults += [f"B: {line}" for line in _faults(sides[1])]
    titles = title_contenders(*sides)
    cells = titles_of_cells(*sides)
    pairs, steps = Pairs(_kept_of(*sides)), steps_of(*sides, cells)
    unrepeatable = find_unrepeatable(specs_of([*sides[0].records, *sides[1].records]))
    both = matched(*sides)
    changes: list[Change] = []
    for one, other in both:
        first, second = sides[0].contenders[one], sides[1].contenders[other]
        found.equal += _is_equal(first, second, unrepeatable)
        obstacles = list(_obstacles(first, second, sides))
        found.not_comparable += [
            (f"{titles[one]}: {obstacle.what}" if obstacle.what else titles[one], obstacle.reason)
            for obstacle in obstacles
        ]
        if all(obstacle.what for obstacle in obstacles):
            left_out = frozenset[str]().union(*(obstacle.measures for obstacle in obstacles))
            failed = sides[0].failed_of(first), sides[1].failed_of(second)
            changes += _changes(one, titles[one], first, second, cells, pairs, steps, unrepeatable, left_out, failed)
            found.only_a += [f"{titles[one]}: {what}" for what in _beyond(first, second, cells, left_out)]
            found.only_b += [f"{titles[one]}: {what}" for what in _beyond(second, first, cells, left_out)]
    found.matched = len(both)
    found.changes = _table(changes, unrepeatable)
    found.only_a += [titles[identity] for identity in sides[0].contenders if identity not in {one for one, _ in both}]
    found.only_b += [titles[identity] for identity in sides[1].contenders if identity not in {two for _, two in both}]
    found.only_a.sort()
    found.only_b.sort()
    found.provenance = _provenance(*sides)
    return found


def _is_equal(a: Contender, b: Contender, unrepeatable: Collection[tuple[str, str]]) -> bool:
    """Whether two contenders have the same cells and the same numbers to the last bit, but for those of time and memory."""

    def numbers_of(contender: Contender) -> dict[int, Any]:
        return {
            seed: (record.cell, [row for row in record.rows if row[:2] not in unrepeatable])
            for seed, record in contender.records.items()
        }

    return numbers_of(a) == numbers_of(b)


def _faults(side: Side) -> list[str]:
    titles = titles_of_cells(side)
    failed = [f"{titles[record.cell.id]} failed: {record.reason}" for record in side.failed]
    outdated = [
        f"{titles[record.cell.id]} failed when it was trained anew, and is shown as of before: {record.reason}"
        for record in side.records
        if record.is_outdated
    ]
    return [*side.faults, *failed, *outdated]


def _kept_of(a: Side, b: Side) -> Kept:
    """What measures kept on both sides, a cell's name beginning with its side: a cell of both may differ."""

    def kept(measure: str, cell: str) -> dict[str, NDArray[Any]]:
        side, _, identity = cell.partition(" ")
        return {"A": a, "B": b}[side].kept(measure, identity)

    return kept


class _Obstacle(NamedTuple):
    """What of a matched contender cannot be compared, and why: all of it, which has no name, or some measures."""

    what: str
    reason: str
    measures: frozenset[str] = frozenset()


TIMES_AND_MEMORY = "times and memory"


def _edited_modules(part: str, a: Contender, b: Contender) -> str:
    """The modules in which a user's own part differs between two contenders, in parentheses; empty where records do not tell."""
    trained = [next(iter(each.records.values())).training for each in (a, b)]
    first, second = (training.sources.get(part, {}) if training else {} for training in trained)
    modules = changed_parts(first, second) if first and second else []
    return f" (in {', '.join(modules)})" if modules else ""


def _obstacles(a: Contender, b: Contender, sides: tuple[Side, Side]) -> Iterator[_Obstacle]:
    data = other_data(a, b)
    if data.parts:
        yield _Obstacle("" if data.certain else "data", data.told)
        if data.certain:
            return
    parts = [part for part in changed_parts(a.cell.code, b.cell.code) if part != DATA]
    if parts:
        edited = [f"{part}{_edited_modules(part, a, b)}" for part in parts]
        yield _Obstacle("", f"another source of the user's own {', '.join(edited)}")
        return
    labels = [
        {
            tuple(kept["label"].flatten().tolist())
            for record in contender.records.values()
            if "label" in (kept := side.store.kept(record, ACCURACY))
        }
        for contender, side in zip((a, b), sides, strict=True)
    ]
    if all(labels) and labels[0] != labels[1]:
        yield _Obstacle("", "other test images: their labels differ")
        return
    measured = [_measured(contender) for contender in (a, b)]
    for name in sorted(measured[0].keys() & measured[1].keys()):
        ones, others = measured[0][name], measured[1][name]
        common = ones.keys() & others.keys()
        if not common:
            numbers_of = frozenset(
                label for side in (ones, others) for taken in side.values() for label in taken.labels
            )
            reason = f"measured as {' or '.join(sorted(ones))} and as {' or '.join(sorted(others))}"
            yield _Obstacle(name, reason, numbers_of)
        for spec in sorted(common):
            if ones[spec].versions != others[spec].versions:
                versions = [" or ".join(map(str, sorted(side[spec].versions))) for side in (ones, others)]
                reason = f"measured by version {versions[0]} and by version {versions[1]}"
                yield _Obstacle(spec, reason, frozenset(ones[spec].labels | others[spec].labels))
    hardware = other_hardware(a, b)
    if hardware:
        yield _Obstacle(TIMES_AND_MEMORY, f"other hardware: {hardware}", frozenset({TIMES_AND_MEMORY}))


class _Taken(NamedTuple):
    """The versions by which a measure was taken in a setting, and how its numbers are labelled (`label_of`)."""

    versions: set[int]
    labels: set[str]


def _measured(contender: Contender) -> dict[str, dict[str, _Taken]]:
    """Measure -> its specs -> how they were taken."""
    found: dict[str, dict[str, _Taken]] = {}
    for record in contender.records.values():
        for spec, measurement in record.measures.items():
            taken = found.setdefault(measure_name(spec), {}).setdefault(spec, _Taken(set(), set()))
            taken.versions.add(measurement.version)
            taken.labels.update(label_of(row, spec) for row in measurement.rows)
    return found


def _beyond(a: Contender, b: Contender, cells: Mapping[str, str], left_out: frozenset[str]) -> Iterator[str]:
    """What the records of one contender have and the other's of the same seeds have not; of no common seed, all of them."""
    common = sorted(a.records.keys() & b.records.keys())
    others = sorted(a.records.keys() - b.records.keys())
    if common and others:
        yield spell_seeds(others)
    pairs = [(a.records[seed], [b.records[seed]]) for seed in common] or [
        (record, [*b.records.values()]) for record in a.records.values()
    ]
    beyond: set[Number] = set()
    for record, against in pairs:
        beyond |= numbers(record, cells).keys() - {number for each in against for number in numbers(each, cells)}
    counts = Counter(number.measure for number in beyond if number.measure not in left_out)
    for measure, count in sorted(counts.items()):
        yield f"{'1 number' if count == 1 else f'{count} numbers'} of {measure}"


def _changes(
    identity: str,
    title: str,
    a: Contender,
    b: Contender,
    cells: Mapping[str, str],
    pairs: Pairs,
    steps: Steps,
    unrepeatable: Collection[tuple[str, str]],
    left_out: frozenset[str],
    failed: tuple[int, int],
) -> Iterator[Change]:
    ones, others = (
        {seed: numbers(record, cells) for seed, record in contender.records.items()} for contender in (a, b)
    )
    common = sorted(ones.keys() & others.keys())
    for number in dict.fromkeys(number for each in ones.values() for number in each):
        timed = number[:2] in unrepeatable
        if number.measure in left_out or (timed and TIMES_AND_MEMORY in left_out):
            continue
        seeds = [seed for seed in common if number in ones[seed] and number in others[seed]]
        first = {seed: each[number] for seed, each in ones.items() if number in each and (seed in seeds or not seeds)}
        second = {
            seed: each[number] for seed, each in others.items() if number in each and (seed in seeds or not seeds)
        }
        if not second or first == second or (not seeds and _alike([*first.values()], [*second.values()])):
            continue
        step = steps.of(a.cell.dataset, measure_name(number.measure), number.metric, number.condition, number.unit)
        if not seeds:
            difference, test = compare_unpaired_seeds([*second.values()], [*first.values()], step), "unpaired"
        elif number[:3] == TEST_ACCURACY:
            named = [{seed: f"{side} {c.records[seed].cell.id}" for seed in seeds} for side, c in (("A", a), ("B", b))]
            accuracy = {name[seed]: of[seed] for name, of in zip(named, (first, second), strict=True) for seed in seeds}
            difference = pairs.difference(named[1], named[0], accuracy, step)
            test = "images" if difference.images else "seeds"
        else:
            difference, test = paired_seeds([second[s] for s in seeds], [first[s] for s in seeds], step), "seeds"
        if math.isnan(difference.p):
            test = "none"
        means = fmean(first.values()), fmean(second.values())
        yield Change(identity, title, number, *means, difference, len(first), len(second), failed[0], failed[1], test)


def _alike(first: list[float], second: list[float]) -> bool:
    """Whether numbers of other seeds are the same: as many of each, or one number throughout, as parameters are."""
    return sorted(first) == sorted(second) or len({*first, *second}) == 1


def _table(changes: list[Change], unrepeatable: Collection[tuple[str, str]]) -> pd.DataFrame:
    timed = [change.number[:2] in unrepeatable for change in changes]
    adjusted = np.full(len(changes), math.nan)
    for family in (True, False):  # that a machine was busy says nothing of what networks score
        places = [place for place, is_timed in enumerate(timed) if is_timed is family]
        adjusted[places] = adjust_by_holm([changes[place].difference.p for place in places])
    rows = [
        {
            "contender": change.contender,
            "title": change.title,
            **change.number._asdict(),
            "timed": is_timed,
            "a": change.a,
            "b": change.b,
            "difference": change.difference.mean,
            "half": change.difference.half,
            "seeds_a": change.seeds_a,
            "seeds_b": change.seeds_b,
            "failed_a": change.failed_a,
            "failed_b": change.failed_b,
            "test": change.test,
            "p": change.difference.p,
            "p_holm": p,
            "holds": bool(p < ALPHA)
            and (min(change.seeds_a, change.seeds_b) >= FEWEST_SEEDS or change.test == "images"),
        }
        for change, is_timed, p in zip(changes, timed, adjusted, strict=True)
    ]
    return pd.DataFrame(rows, columns=CHANGE_COLUMNS)


def _provenance(a: Side, b: Side) -> dict[str, tuple[str, str]]:
    """Facts of provenance that are the same throughout neither side's records nor between them."""
    names = (
        "capsbench",
        "commit",
        "dirty",
        "python",
        "torch",
        "numpy",
        "numba",
        "triton",
        "cuda",
        "cpu",
        "gpu",
        "cores",
    )

    def facts(side: Side, name: str) -> str:
        return " or ".join(sorted({str(record.provenance.get(name)) for record in side.records}))

    found = {name: (facts(a, name), facts(b, name)) for name in names}
    return {name: both for name, both in found.items() if both[0] != both[1]}
