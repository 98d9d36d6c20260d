"""Writes what the jobs of a run send into the records of their cells, each under the lease of its cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from capsbench.planning.matrix import PlannedCell
from capsbench.records.cell import Cell
from capsbench.records.record import TRAINING, Record
from capsbench.records.sharing.leases import Leases
from capsbench.records.store import Store
from capsbench.running.events import JobEvent, Measured, Measuring, NotMeasured, Trained
from capsbench.running.state import (
    check_row_names,
    record_failed_measures,
    record_failed_training,
    record_measure,
    record_request,
    record_training,
)


@dataclass
class Recorder:
    """The records of a run's cells, and the transitions by the events and failures of their jobs.

    Args:
        store: the results folder.
        leases: those of the folder. What a job sends is dropped if another process has the cell, or recorded something of it.
        records: cell identity -> the present record of each trained network.
        train: False if networks are only measured.
        sequence: the number of the run among those of the folder.
    """

    store: Store
    leases: Leases
    records: dict[str, Record]
    train: bool = True
    sequence: int | None = None
    stamps: dict[str, tuple[int, int, int] | None] = field(default_factory=dict)
    """Cell identity -> the stamp of its record (`Store.stamp`) when this process read or wrote it last."""
    underway: dict[str, str] = field(default_factory=dict)
    """Cell identity -> the measure that its job has begun and not ended."""

    def note_stamps(self, cells: Sequence[Cell]) -> None:
        """Remembers the present state of the records of some cells; call it before they are read."""
        self.stamps.update({cell.id: self.store.stamp(cell.id) for cell in cells})

    def reread(self, cell: Cell) -> Record | None:
        """Reads a record again if another process has written it since; None if not."""
        stamp = self.store.stamp(cell.id)
        if stamp is None or stamp == self.stamps.get(cell.id):
            return None
        self.stamps[cell.id] = stamp
        record = self.store.read(cell.id)
        if record.training is not None and TRAINING not in record.failures:
            self.records[cell.id] = record
        return record

    def holds(self, cell_id: str) -> bool:
        """Returns true if this process holds the lease of a cell, or takes a lost one again, if nobody did anything since."""
        if self.leases.is_held(cell_id):
            return True
        if not self.leases.take(cell_id):
            return False
        if self.store.stamp(cell_id) == self.stamps.get(cell_id):
            return True
        self.leases.release(cell_id)
        return False

    def record_event(self, planned: PlannedCell, event: JobEvent) -> JobEvent | None:
        """Writes the results in an event of a job, and returns it; or the failure of a measure whose rows cannot be recorded.

        Returns None for an event that is dropped, since another process has taken the cell over.
        """
        cell_id = planned.cell.id
        if not self.holds(cell_id):
            return None
        match event:
            case Measuring(spec):
                self.underway[cell_id] = spec
            case Trained():
                aliases = self.store.aliases_of(planned.cell)
                self.write(record_training(planned, event, self.sequence, aliases))
                self.store.remove_outdated(self.records[cell_id])
                self.store.remove_checkpoint(cell_id)
            case Measured() | NotMeasured():
                self.underway.pop(cell_id, None)
                record = self.renew_request(planned)
                event = check_row_names(record, event)
                self.write(record_measure(record, event, self.sequence))
        return event

    def record_failure(self, planned: PlannedCell, specs: Iterable[str], failure: Exception) -> Record:
        """Writes the failure of a job: of its training, of the measure that was underway, or else of those in ``specs``."""
        cell_id = planned.cell.id
        if cell_id not in self.records:
            # The record of an earlier training keeps its numbers, and the failure marks them.
            record = record_failed_training(planned, failure, self.sequence, self.store.find(planned.cell))
        else:
            failed = [self.underway.pop(cell_id)] if cell_id in self.underway else specs
            record = record_failed_measures(self.renew_request(planned), failed, failure, self.sequence)
            self.records[cell_id] = record
        if self.holds(cell_id):
            self._write(record)
        return record

    def renew_request(self, planned: PlannedCell) -> Record:
        """Returns the record of a trained cell with the present request."""
        return record_request(self.records[planned.cell.id], planned, add=not self.train)

    def write(self, record: Record) -> None:
        """Writes the record of a trained cell."""
        self.records[record.cell.id] = record
        self._write(record)

    def _write(self, record: Record) -> None:
        self.store.write(record)
        self.stamps[record.cell.id] = self.store.stamp(record.cell.id)
