"""What of a search is on record and what is left of it, before anything is run."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from capsbench.planning.matrix import PlannedCell
from capsbench.records.store import Store
from capsbench.records.tuning.trials import open_trials
from capsbench.running.on_record import OnRecord, look_up
from capsbench.tuning.contenders import Contender
from capsbench.tuning.converge import Climber
from capsbench.tuning.epochs import FACTORS, Ladder, apply_epochs, change_epochs
from capsbench.tuning.selection import replay_studies


class Count(NamedTuple):
    """A number of cells, and how many of them are finished on record."""

    cells: int
    on_record: int


Counts = Mapping[str, Count]
"""``trials``, ``longer`` (longer trainings of winners) and ``results`` of a contender -> their number. Of a study whose winner is
not known yet, there are as many longer trainings as it may get."""


@dataclass
class Outline:
    """A search as its records leave it.

    Attributes:
        counts: of each contender.
        left: a cell for each one that is left to run. It has the settings from which the search starts: those of a trial, which
            change its duration little but for the batch size, may not be known yet.
        trained: the identities of those of them that only have to be measured.
        remarks: lines for the user on what is on record.
        is_open: true if it is not known how long winners are trained; then ``left`` has the most that may be needed.
    """

    counts: list[Counts] = field(default_factory=list)
    left: list[PlannedCell] = field(default_factory=list)
    trained: set[str] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)
    is_open: bool = False

    @property
    def cells(self) -> int:
        """The number of all cells, those on record among them."""
        return sum(counted.cells for counts in self.counts for counted in counts.values())


class _Study(NamedTuple):
    """A study on record, or a search for the epochs of a contender: its trials, and what follows from them, as far as is known.

    - ``trials``
    - ``longer``: the longer trainings, up to the first that were not tried
    - ``following``: the factors of the epochs of those that may follow
    - ``results``: empty if the winner or its epochs are not known
    """

    trials: list[PlannedCell]
    longer: list[PlannedCell]
    following: list[int]
    results: list[PlannedCell]


class _Side(NamedTuple):
    """A contender in a search.

    - ``start``: its cell with the settings and epochs that the search starts from
    - ``seeds``: the number of its results in a study
    - ``is_prolonged``: whether its epochs are searched for
    - ``studies``
    """

    start: PlannedCell
    seeds: int
    is_prolonged: bool
    studies: list[_Study]


def outline_search(contenders: Sequence[Contender], folder: Path) -> Outline:
    """Returns what of a search is on record in a results folder, and what is left; nothing is written.

    The winner of a study is known once each of its trials was tried. A trial that failed is tried again by the next run.
    """
    return _outline(
        [
            _Side(
                contender.planned,
                len(contender.seeds),
                contender.search.is_prolonged,
                [*_read_studies(contender, folder)],
            )
            for contender in contenders
        ],
        folder,
    )


def outline_climbers(climbers: Sequence[Climber], folder: Path) -> Outline:
    """Returns the same of a search for epochs."""
    return _outline(
        [
            _Side(climber.planned[0], len(climber.planned), True, [_read_climber(climber, open_trials(folder))])
            for climber in climbers
        ],
        folder,
    )


def _outline(sides: Sequence[_Side], folder: Path) -> Outline:
    studies = [study for side in sides for study in side.studies]
    trials = look_up([job for study in studies for job in (*study.trials, *study.longer)], open_trials(folder))
    results = look_up([job for study in studies for job in study.results], Store(folder))
    outline = Outline(remarks=list(dict.fromkeys([*trials.remarks, *results.remarks])))
    for side in sides:
        _add_side(outline, side, trials, results)
    return outline


def _read_studies(contender: Contender, folder: Path) -> Iterator[_Study]:
    store = open_trials(folder)
    for number, (trials, winner) in enumerate(replay_studies(contender, folder)):
        if winner is None or not _are_tried(trials, store):
            yield _Study(trials, [], [*FACTORS[1:]] if contender.search.is_prolonged else [], [])
            continue
        best = trials[winner.trial]
        results = contender.plan_results(number, best, winner.validation)
        longer, following = _climb(Ladder([best]), store) if contender.search.is_prolonged else ([], [])
        if not _are_tried(longer, store):
            results = []
        elif contender.search.is_prolonged:
            results = apply_epochs(results, Ladder([best]).read(store))
        yield _Study(trials, longer, following, results)


def _read_climber(climber: Climber, store: Store) -> _Study:
    ladder = climber.ladder
    trials = ladder.plan_rung(FACTORS[0])
    if not _are_tried(trials, store):
        return _Study(trials, [], [factor for factor in FACTORS[1:] for _ in trials], [])
    longer, following = _climb(ladder, store)
    results = climber.plan_results(ladder.read(store)) if _are_tried(longer, store) else []
    return _Study(trials, longer, following, results)


def _climb(ladder: Ladder, store: Store) -> tuple[list[PlannedCell], list[int]]:
    """Returns the longer trainings, up to the first that were not tried, and factors of the epochs of those that may follow."""
    longer: list[PlannedCell] = []
    for rung in range(1, len(FACTORS)):
        if not ladder.has_reached(rung, store):
            break
        longer += ladder.plan_rung(FACTORS[rung])
        if not _are_tried(longer, store):
            return longer, [factor for factor in FACTORS[rung + 1 :] for _ in ladder.trials]
    return longer, []


def _are_tried(jobs: Iterable[PlannedCell], store: Store) -> bool:
    """Returns true if each cell has a record, also one that says why it failed."""
    return all(store.stamp(job.cell.id) is not None for job in jobs)


def _add_side(outline: Outline, side: _Side, trials: OnRecord, results: OnRecord) -> None:
    """Adds a contender to an outline."""
    numbers, start = itertools.count(), side.start.cell.epochs

    def add_left(epochs: int, measures: Sequence[str] = (), *, is_trained: bool = False) -> None:
        job = replace(side.start.with_seed(next(numbers)), measures=tuple(measures))
        job = job if epochs == start else change_epochs(job, epochs)
        outline.left.append(job)
        if is_trained:
            outline.trained.add(job.cell.id)

    cells, left = Counter[str](), Counter[str]()
    for study in side.studies:
        for kind, jobs in {"trials": study.trials, "longer": study.longer}.items():
            remaining = trials.list_remaining(jobs)
            cells[kind] += len(jobs)
            left[kind] += len(remaining)
            for job in remaining:
                add_left(job.cell.epochs)
        for factor in study.following:
            add_left(factor * start)
        remaining = results.list_remaining(study.results)
        for job in remaining:
            add_left(job.cell.epochs, job.measures, is_trained=job.cell.id in results.records)
        unknown = 0 if study.results else side.seeds
        for _ in range(unknown):
            add_left((FACTORS[-1] if side.is_prolonged else 1) * start, side.start.measures)
        outline.is_open |= unknown > 0 and side.is_prolonged
        cells.update(longer=len(study.following), results=side.seeds)
        left.update(longer=len(study.following), results=len(remaining) + unknown)
    outline.counts.append({kind: Count(number, number - left[kind]) for kind, number in cells.items()})
