"""The state of each cell of a results folder, and the time that is left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from capsbench.presenting.naming import Names
from capsbench.pruning.sizes import Size
from capsbench.records.record import Record, Run
from capsbench.records.runs import find_left_to_retrain
from capsbench.records.sharing.leases import Lease


@dataclass(frozen=True)
class RunningCell:
    """A cell on which a process works, as that process told at its latest heartbeat.

    Attributes:
        host, process: the machine and the number of the process.
        seconds: how long it has had the cell.

    The others are those of `capsbench.records.sharing.activity.Activity`.
    """

    cell: str
    title: str
    host: str
    process: int
    seconds: float
    doing: str
    done: float | None
    epoch: int | None
    epochs: int | None
    loss: float | None
    validation: str
    seconds_left: float | None

    @classmethod
    def from_lease(cls, lease: Lease, record: Record | None) -> RunningCell:
        """Returns the cell of a lease; the record of an earlier training may know a title."""
        activity = lease.activity
        return cls(
            cell=lease.cell_id,
            title=activity.title or ("" if record is None else record.cell.title),
            host=str(lease.holder.host),
            process=lease.holder.number,
            seconds=lease.seconds,
            doing=activity.doing,
            done=activity.done,
            epoch=activity.epoch,
            epochs=activity.epochs,
            loss=activity.loss,
            validation=activity.validation,
            seconds_left=activity.seconds_left,
        )


@dataclass(frozen=True)
class FailedCell:
    """A cell whose training or a measure of it failed, and the reason on record."""

    cell: str
    title: str
    reason: str


@dataclass(frozen=True)
class Status:
    """The state of a results folder. Each cell is in one of the first five lists.

    Attributes:
        finished: identities of the cells with all measures on record.
        trained: of those that are trained and still to be measured.
        running: those on which a process works.
        waiting: identities of those that no process has begun, or that a fresh run is still to train again.
        failed: those that failed and were not tried again since.
        lost: those of the waiting and the trained cells whose process has ended before its time.
        seconds_left: estimated rest of all cells, by the durations on record; None if nothing is known or runs.
        sizes: part of the folder -> its size.
        prunable: kind of file that `capsbench prune` would delete -> its size.
        faults: a line for each file that cannot be read.
    """

    folder: str
    runs: int
    finished: list[str]
    trained: list[str]
    running: list[RunningCell]
    waiting: list[str]
    failed: list[FailedCell]
    lost: list[RunningCell]
    seconds_left: float | None
    sizes: dict[str, Size]
    prunable: dict[str, Size]
    faults: list[str]

    @property
    def counts(self) -> dict[str, int]:
        """State -> number of cells."""
        states = ("finished", "trained", "running", "waiting", "failed")
        return {state: len(getattr(self, state)) for state in states}

    @property
    def has_ended(self) -> bool:
        """True if nothing is left to do."""
        return not (self.running or self.waiting or self.trained)


class Cells:
    """The cells of some runs, by their state.

    Args:
        records: the records of a folder.
        runs: the runs noted in it.
        leases: those of the folder.
        latest: only the cells of the latest run; otherwise those of all runs, of records and of leases.
    """

    def __init__(
        self, records: Sequence[Record], runs: Sequence[Run], leases: Iterable[Lease], *, latest: bool
    ) -> None:
        self.records = {record.cell.id: record for record in records}
        names = {name: record.cell.id for record in records for name in (record.cell.id, *record.aliases)}
        leased = {names.get(lease.cell_id, lease.cell_id): lease for lease in leases}
        asked = [names.get(cell, cell) for run in (runs[-1:] if latest else runs) for cell in run.cells]
        known = [] if latest and runs else [*self.records, *leased]
        self.ids = list(dict.fromkeys([*asked, *known]))
        left = {record.cell.id for record in find_left_to_retrain(runs, records)}
        states = {cell_id: self._find_state(cell_id, leased.get(cell_id), left) for cell_id in self.ids}
        self.by_state: dict[str, list[str]] = {}
        for cell_id, state in states.items():
            self.by_state.setdefault(state, []).append(cell_id)
        self.running = [self._describe_running(leased[cell_id]) for cell_id in self.of("running")]
        lost = [*self.of("waiting"), *self.of("trained")]
        self.lost = [self._describe_running(leased[cell_id]) for cell_id in lost if cell_id in leased]

    def of(self, state: str) -> list[str]:
        """Returns the identities of the cells in a state."""
        return self.by_state.get(state, [])

    def describe_failed(self) -> list[FailedCell]:
        """Returns the failed cells with their titles among all cells on record."""
        cells = [self.records[cell_id].cell for cell_id in self.of("failed")]
        titles = Names(record.cell for record in self.records.values()).titles(cells) if cells else {}
        return [FailedCell(cell.id, titles[cell.id], self.records[cell.id].reason) for cell in cells]

    def estimate_seconds_left(self) -> float | None:
        """Returns the rest of all cells if as many go on at a time as now; None if nothing runs or is known.

        A training without an estimate of its own takes as long as those on record did on average, and so does a measure. A
        measure that was never taken counts nothing.
        """
        if not self.running:
            return None
        records = [self.records[cell_id] for cell_id in self.ids if cell_id in self.records]
        durations = [record.training.seconds for record in records if record.training and record.training.seconds]
        paced = [cell.seconds + cell.seconds_left for cell in self.running if cell.seconds_left is not None]
        training, measuring = _mean(durations or paced), _Measuring(records)
        begun = [cell for cell in self.running if cell.seconds_left is not None or cell.cell in self.records]
        not_begun = len(self.of("waiting")) + len(self.running) - len(begun)
        if training is None and not_begun:
            return None
        rests = [(cell.seconds_left or 0.0) + measuring.estimate(self.records.get(cell.cell)) for cell in begun]
        trained = [measuring.estimate(self.records[cell_id]) for cell_id in self.of("trained")]
        seconds = not_begun * ((training or 0.0) + measuring.estimate(None)) + sum(rests) + sum(trained)
        return max(seconds / len(self.running), *rests, 0.0)

    def _find_state(self, cell_id: str, lease: Lease | None, left: Iterable[str]) -> str:
        record = self.records.get(cell_id)
        if lease is not None and not lease.is_stale:
            return "running"
        if record is None or cell_id in left:
            return "waiting"
        return "failed" if record.reason else record.status

    def _describe_running(self, lease: Lease) -> RunningCell:
        return RunningCell.from_lease(lease, self.records.get(lease.cell_id))


class _Measuring:
    """The durations of measures, by those on record."""

    def __init__(self, records: Sequence[Record]) -> None:
        durations: dict[str, list[float]] = {}
        for record in records:
            for spec, taken in record.measures.items():
                durations.setdefault(spec, []).append(taken.seconds or 0.0)
        self.seconds = {spec: fmean(seconds) for spec, seconds in durations.items()}
        self.whole = _mean(self._sum(record.wanted) for record in records) or 0.0

    def estimate(self, record: Record | None) -> float:
        """Returns the seconds that the missing measures of a record take, or all measures of a cell without one."""
        return self.whole if record is None else self._sum({*record.wanted} - record.measures.keys())

    def _sum(self, specs: Iterable[str]) -> float:
        return sum(self.seconds.get(spec, 0.0) for spec in specs)


def _mean(numbers: Iterable[float]) -> float | None:
    numbers = list(numbers)
    return fmean(numbers) if numbers else None
