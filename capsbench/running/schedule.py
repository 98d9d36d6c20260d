"""The order of the cells of a run, and which of them a budget of time leaves.

With a budget, comparisons are completed one after the other. One seed of every contender comes before the second seed of any. Of
these, the data set, size and number of training images come first whose cells take the least time, and of its cells the
shortest. A cell is started only if it is expected to end in time.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from capsbench.measures.build import make_measure
from capsbench.planning.contender_defaults import title_cells
from capsbench.planning.matrix import PlannedCell
from capsbench.records.cell import Cell, fields_of
from capsbench.records.declaration import Role
from capsbench.records.record import Record
from capsbench.records.software.provenance import provenance
from capsbench.records.store import Store
from capsbench.running.checkpoints import count_epochs
from capsbench.running.estimate import SECONDS_OF_OVERHEAD, SECONDS_OF_TIMING, estimate_duration
from capsbench.running.load_data import check_data
from capsbench.running.on_record import look_up
from capsbench.running.outcome import Waiting

SHARE_OF_TIMING, MOST_SECONDS_OF_TIMING = 0.02, 120.0
"""The share of a budget that goes into timing the networks, and the most seconds."""


class Schedule:
    """The order of a run without a budget: long trainings first, so that no core is left alone with one at the end."""

    def sort(self, cells: Iterable[PlannedCell]) -> list[PlannedCell]:
        """Returns the cells of a run in the order in which they are started."""
        return sorted(cells, key=_rank_by_duration)

    def admits(self, planned: PlannedCell) -> bool:
        """Returns true if a cell may be started now."""
        return True

    def end_training(self) -> None:
        """Notes that from now on networks are only measured."""

    def note_record(self, record: Record) -> None:
        """Notes the duration of a cell that ended."""

    def seconds_left(self) -> float | None:
        """Returns the time that is left for the jobs that run, None without a limit. At its end they are stopped."""
        return None

    def list_waiting(
        self, planned: Sequence[PlannedCell], left: Collection[str], trained: Collection[str]
    ) -> list[Waiting]:
        """Returns those of the planned cells that a budget left, in the order in which they would run.

        Args:
            left, trained: the identities of the cells that are left, and of those of them that are trained.
        """
        return []


@dataclass
class BudgetSchedule(Schedule):
    """The order of a run with a budget of time.

    Args:
        ends: the end of the budget, by the clock.
        planned: all cells of the run, those on record too.
        estimates: cell identity -> expected seconds of what is missing of it; cells whose networks could not be timed lack.
        done: cell identity -> share of its training that a checkpoint holds.
        trained: the identities of the cells that only have to be measured.
        read_done: returns ``done`` of some cells as it is now.
        clock: returns a time in seconds.
    """

    ends: float
    planned: Sequence[PlannedCell]
    estimates: Mapping[str, float]
    done: Mapping[str, float] = field(default_factory=dict)
    trained: frozenset[str] = frozenset()
    read_done: Callable[[Sequence[PlannedCell]], Mapping[str, float]] = lambda cells: {}
    clock: Callable[[], float] = time.monotonic
    observed: dict[str, float] = field(default_factory=dict, init=False)
    """Contender -> seconds that a cell of it took, which count more than an estimate."""
    is_training: bool = field(default=True, init=False)
    to_measure_alone: set[str] = field(default_factory=set, init=False)
    """The cells with measures that are taken one after the other once all trainings have ended; time is kept for them."""

    measured_beside: frozenset[str] = field(init=False)
    """The measures that are taken in the process of a training."""

    def __post_init__(self) -> None:
        specs = {spec for job in self.planned for spec in job.measures}
        self.measured_beside = frozenset(spec for spec in specs if not make_measure(spec).alone)
        self.to_measure_alone |= {
            job.cell.id for job in self.planned if job.cell.id in self.trained and _has_alone(job)
        }

    def sort(self, cells: Iterable[PlannedCell]) -> list[PlannedCell]:
        jobs = [*cells]
        rounds = _count_rounds(self.planned)
        seconds = {job.cell.id: self.expect(job, unknown=math.inf) for job in jobs}
        totals: dict[tuple[int, tuple[object, ...]], float] = defaultdict(float)
        for job in jobs:
            totals[rounds[job.cell.id], _find_task(job.cell)] += seconds[job.cell.id]

        def rank(job: PlannedCell) -> tuple[int, float, str, float]:
            number, task = rounds[job.cell.id], _find_task(job.cell)
            return number, totals[number, task], str(task), seconds[job.cell.id]

        return sorted(jobs, key=rank)

    def expect(self, planned: PlannedCell, unknown: float = math.nan) -> float:
        """Returns the expected seconds of what is missing of a cell."""
        cell = planned.cell
        seconds = self.estimates.get(cell.id, unknown)
        if cell.id not in self.trained:
            seconds = self.observed.get(cell.contender, seconds)
        return seconds * (1 - self.done.get(cell.id, 0.0))

    def admits(self, planned: PlannedCell) -> bool:
        """Returns true if a cell is expected to end in time; of unknown duration, or only to be measured, while any is left."""
        if not self.is_training:
            return self._count_left(set()) > 0
        alone = {planned.cell.id} if _has_alone(planned) else set()
        left = self._count_left(self.to_measure_alone | alone)
        is_admitted = left > 0 and not self.expect(planned) > left
        self.to_measure_alone |= alone if is_admitted else set()
        return is_admitted

    def end_training(self) -> None:
        self.is_training = False
        self.to_measure_alone.clear()

    def note_record(self, record: Record) -> None:
        training = record.training
        if training is not None and training.seconds is not None:
            beside = (taken.seconds for spec, taken in record.measures.items() if spec in self.measured_beside)
            self.observed[record.cell.contender] = training.seconds + sum(filter(None, beside))

    def seconds_left(self) -> float | None:
        # A training leaves a checkpoint; a measure would be lost, and those that are taken after all trainings are short.
        return self._count_left(self.to_measure_alone) if self.is_training else None

    def list_waiting(
        self, planned: Sequence[PlannedCell], left: Collection[str], trained: Collection[str]
    ) -> list[Waiting]:
        identities, titles = frozenset(left), title_cells(job.cell for job in planned)
        jobs = [job for job in planned if job.cell.id in identities]
        self.done = self.read_done(jobs)
        jobs = self.sort(jobs)
        # Of a network that was trained in this run, it is not known what is left to measure.
        unknown = {*trained} - self.trained
        expected = {job.cell.id: math.nan if job.cell.id in unknown else self.expect(job) for job in jobs}
        return [
            Waiting(cell, titles[cell], None if math.isnan(seconds) else round(seconds, 1))
            for cell, seconds in expected.items()
        ]

    def simulate(self, cells: Iterable[PlannedCell], workers: int) -> list[PlannedCell]:
        """Returns the cells that end in time if all take as long as expected, those of unknown duration left out."""
        free, admitted, alone = [0.0] * workers, [], 0
        for job in self.sort(cells):
            start, reserve = free[0], SECONDS_OF_OVERHEAD * (alone + _has_alone(job))
            if start + self.expect(job, unknown=math.inf) + reserve <= self.ends - self.clock():
                heapq.heapreplace(free, start + self.expect(job))
                admitted.append(job)
                alone += _has_alone(job)
        return admitted

    def _count_left(self, alone: set[str]) -> float:
        return self.ends - self.clock() - SECONDS_OF_OVERHEAD * len(alone)


def plan_budget(
    ends: float,
    planned: Sequence[PlannedCell],
    store: Store,
    folder: Path,
    *,
    fresh: bool = False,
    train: bool = True,
    leave_out: bool = False,
) -> BudgetSchedule:
    """Times the networks of a run and returns its schedule.

    Args:
        ends: the end of the budget, by `time.monotonic`.
        folder: the folder of the data sets.
        fresh, train, leave_out: as in `capsbench.running.runner.Runner`.

    Raises:
        UsageError: a cell cannot be run at all, for lack of data for example.
    """
    missing = check_data([job.cell for job in planned], folder, leave_out) if leave_out else {}
    planned = [job for job in planned if job.cell.dataset not in missing]
    on_record = look_up(planned, store, fresh=fresh, train=train)
    left = on_record.list_remaining(planned)
    share = SHARE_OF_TIMING * (ends - time.monotonic())
    seconds = min(MOST_SECONDS_OF_TIMING, max(SECONDS_OF_TIMING, share))
    timing = estimate_duration(left, on_record.records.keys(), folder, seconds=seconds)
    read_done = partial(_read_done, store)
    done = {} if fresh else read_done(left)  # a fresh run removes the checkpoints
    schedule = BudgetSchedule(ends, planned, timing.seconds_of, done, frozenset(on_record.records), read_done)
    here = provenance()
    for record in on_record.records.values():
        if all(record.provenance.get(name) == here[name] for name in ("cpu", "gpu", "cores")):
            schedule.note_record(record)
    return schedule


def _read_done(store: Store, cells: Sequence[PlannedCell]) -> dict[str, float]:
    """Returns cell identity -> share of its training that its checkpoint holds."""
    checkpoints = store.list_checkpoints()
    return {
        job.cell.id: min(1.0, count_epochs(store.checkpoint_path(job.cell.id)) / job.cell.epochs)
        for job in cells
        if job.cell.id in checkpoints and job.cell.epochs
    }


def _rank_by_duration(planned: PlannedCell) -> tuple[bool, int]:
    """Returns a key that sorts long trainings first, so that no core is left alone with one at the end.

    CNNs come first, since a CNN of as many parameters does more arithmetic than a capsule network; then many iterations.
    """
    return planned.cell.has_routing, -(planned.cell.iterations or 0)


def _count_rounds(planned: Iterable[PlannedCell]) -> dict[str, int]:
    """Returns cell identity -> the number of cells of its contender that are planned before it."""
    counts: Counter[str] = Counter()
    rounds = {}
    for job in planned:
        rounds[job.cell.id] = counts[job.cell.contender]
        counts[job.cell.contender] += 1
    return rounds


def _find_task(cell: Cell) -> tuple[object, ...]:
    """Returns what contenders share that are compared: data set, number of training images, and size."""
    return tuple(getattr(cell, name) for name in fields_of(Role.TASK))


def _has_alone(planned: PlannedCell) -> bool:
    return any(make_measure(spec).alone for spec in planned.measures)
