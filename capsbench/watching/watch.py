"""Looks at a results folder, once or again and again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import monotonic

from capsbench.pruning.removal import sum_by_kind
from capsbench.pruning.sizes import Size, measure_parts
from capsbench.pruning.waste import Networks, find_waste
from capsbench.records.folder import check_folder, explain_no_records
from capsbench.records.record import Record, Run
from capsbench.records.runs import latest_run
from capsbench.records.sharing.leases import Lease, Leases
from capsbench.records.store import Store
from capsbench.records.swap import read_whole
from capsbench.watching.state import Cells, Status

SECONDS_BETWEEN_SIZES = 60.0
"""The time after which files are counted again: a network disk takes long to list many."""


class Watch:
    """A results folder that is looked at several times; a record that has not changed is not read again.

    Args:
        folder: the results folder.
        last: only the cells of the latest run; otherwise those of all runs.
    """

    def __init__(self, folder: str | Path = "results", *, last: bool = False) -> None:
        self.store = _CachingStore(folder)
        self.last = last
        # A lease of another machine is found stale by comparing its file with what an earlier look saw.
        self.leases = Leases(self.store.folder)
        self.sizes: tuple[dict[str, Size], dict[str, Size]] = {}, {}
        self.sized_at: float | None = None

    def look(self) -> Status:
        """Reads the present state.

        Raises:
            UsageError: there is no such folder, or it is not one of records.
            NothingMeasured: neither a run nor a record is in it.
        """
        check_folder(self.store)
        leases = self.leases.read_all()
        notes = self.store.read_notes()
        if self.last:
            latest_run(notes, "out")  # raises UsageError if the note of the latest run cannot be read
        records, faults = read_whole(self.store.folder, "out", self.store.records)
        cells = Cells(records, notes.runs, leases, latest=self.last)
        if not cells.ids and not faults:
            raise explain_no_records(self.store, "out")
        if self.sized_at is None or monotonic() - self.sized_at >= SECONDS_BETWEEN_SIZES:
            self.sizes = measure_parts(self.store.folder), self._measure_waste(records, notes.runs, leases)
            self.sized_at = monotonic()
        return Status(
            folder=str(self.store.folder),
            runs=min(len(notes.runs), 1) if self.last else len(notes.runs),
            finished=cells.of("finished"),
            trained=cells.of("trained"),
            running=cells.running,
            waiting=cells.of("waiting"),
            failed=cells.describe_failed(),
            lost=cells.lost,
            seconds_left=cells.estimate_seconds_left(),
            sizes=self.sizes[0],
            prunable=self.sizes[1],
            faults=[*faults, *notes.faults.values()],
        )

    def _measure_waste(self, records: list[Record], runs: list[Run], leases: list[Lease]) -> dict[str, Size]:
        waste = find_waste(Networks(self.store, records, runs), leases)
        busy = {lease.cell_id for lease in leases if not lease.is_stale}
        return sum_by_kind([file for file in waste if busy.isdisjoint(file.cells)])


def status(folder: str | Path = "results", *, last: bool = False) -> Status:
    """Returns the state of each cell of a results folder, on which any process and machine may work at the moment.

    Args:
        folder: the results folder.
        last: only the cells of the latest run; otherwise those of all runs.

    Raises:
        UsageError: there is no such folder, or it is not one of records.
        NothingMeasured: neither a run nor a record is in it.
    """
    return Watch(folder, last=last).look()


class _CachingStore(Store):
    """A store that reads each record once, and again when it has changed; of the numbers it keeps none."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        self.known: dict[Path, tuple[tuple[int, int, int] | None, Record]] = {}

    def _read_record(self, path: Path) -> Record:
        stamp = self.stamp(path.stem)
        known = self.known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        record = super()._read_record(path)
        measures = {spec: replace(taken, rows=[]) for spec, taken in record.measures.items()}
        record = replace(record, measures=measures)
        self.known[path] = stamp, record
        return record
