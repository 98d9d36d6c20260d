"""Runs the cells of a plan: skips those on record, writes every result at once, and goes on after failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from capsbench import registry
from capsbench.measures.base import MeasureBetween
from capsbench.measures.build import declaration_of, make_measure, source_of
from capsbench.planning.defaults import usable_cores
from capsbench.planning.matrix import PlannedCell
from capsbench.records.cell import Cell
from capsbench.records.parts import Parts
from capsbench.records.provenance import provenance
from capsbench.records.record import Measurement, Record
from capsbench.records.store import Store
from capsbench.records.versions import describe_stale
from capsbench.running.cell_job import measure_between, run_cell
from capsbench.running.events import (
    CellEnded,
    DataLeftOut,
    JobEvent,
    JobReported,
    Listener,
    Measured,
    MeasureLeftOut,
    Measuring,
    MeasuringAlone,
    MeasuringBetween,
    NotMeasured,
    Remarked,
    RunStarted,
    Trained,
)
from capsbench.running.executors.local import Job, in_processes
from capsbench.running.load_data import check_data
from capsbench.running.on_record import OnRecord, check_weights, look_up, renew_requests
from capsbench.running.state import (
    check_row_names,
    clear_failed_measure,
    record_failed_measures,
    record_failed_training,
    record_measure,
    record_request,
    record_training,
)


@dataclass
class Outcome:
    """The outcome of a run.

    Attributes:
        finished: identities of the cells that this run finished.
        on_record: identities of those that were finished before.
        failed: records of the cells whose training or a measure failed; their other results are on record.
        left: identities of the cells that Ctrl-C left.
        trained: those of them that are trained and only have to be measured.
        left_out: data set -> why it cannot be loaded; its cells are not part of the run.
    """

    finished: list[str] = field(default_factory=list)
    on_record: list[str] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)
    interrupted: bool = False
    left_out: dict[str, str] = field(default_factory=dict)

    def note_record(self, record: Record) -> None:
        """Files a cell by the latest state of its record."""
        for identities in (self.finished, self.on_record):
            if record.cell.id in identities:
                identities.remove(record.cell.id)
        self.failed[:] = [other for other in self.failed if other.cell.id != record.cell.id]
        if record.reason:
            self.failed.append(record)
        elif record.status == "finished":
            self.finished.append(record.cell.id)


@dataclass
class Runner:
    """Runs the cells of a plan and writes a record of each.

    A cell with all its measures on record is skipped. Of a trained cell, missing and outdated measures are taken; a failed cell,
    and one of outdated components, is trained.

    Args:
        planned: the cells, with the measures wanted of each.
        store: the results folder.
        data_folder: the folder of the data sets.
        listener: receives the events of the run.
        workers: number of networks trained at a time; by default as many as fill the cores, and one on a GPU.
        command: noted with the run.
        fresh: train cells again that are on record; an old record stays until then. The next run of these cells, fresh or not,
            trains those again that a fresh run leaves.
        suite: noted with the run.
        leave_out: leave out cells whose data set cannot be loaded, rather than raise.
        unmeasured: default measures that cannot be taken here -> why; noted with the run.
        remarks: lines for the user, before the run starts.
        train: False to measure networks on record only, whatever the versions of their components.
    """

    planned: Sequence[PlannedCell]
    store: Store
    data_folder: Path
    listener: Listener
    _: KW_ONLY
    workers: int | None = None
    command: str = ""
    fresh: bool = False
    suite: str | None = None
    leave_out: bool = False
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    train: bool = True

    outcome: Outcome = field(default_factory=Outcome, init=False)
    on_record: OnRecord = field(init=False)
    records: dict[str, Record] = field(init=False)
    """Cell identity -> the present record of each trained network."""
    missing: dict[str, list[str]] = field(init=False)
    """Cell identity -> the measures that this run takes of the network alone."""
    unfinished: dict[str, PlannedCell] = field(init=False)
    """Cell identity -> the cell, for those that are trained or measured in phases 1 and 2."""
    sequence: int | None = field(default=None, init=False)
    """The number of this run among those of the folder."""

    def run(self) -> Outcome:
        """Runs the cells; Ctrl-C ends the run, and the same call later goes on from there.

        Raises:
            UsageError: before anything is computed. A data set cannot be loaded; the folder cannot be written, or another run
                holds it; or a measure is missing of a network whose weights are not in the folder.
            StorageFailed: a record cannot be written; those written before stay.
        """
        self._check_data()
        self.store.check_writable()
        with self.store.lock():
            self._look_up()
            self._note_run()
            try:
                self._train_and_measure()
                self._measure_alone()
                self._measure_between()
            except KeyboardInterrupt:
                self.outcome.interrupted = True
            self._list_left()
        return self.outcome

    def _check_data(self) -> None:
        """Leaves out cells without data, and passes on what is known before the run."""
        missing = check_data([job.cell for job in self.planned], self.data_folder, self.leave_out)
        for remark in self.remarks:
            self.listener.notify(Remarked(remark))
        for dataset, reason in missing.items():
            count = sum(job.cell.dataset == dataset for job in self.planned)
            self.listener.notify(DataLeftOut(dataset, count, reason))
        for measure, reason in self.unmeasured.items():
            self.listener.notify(MeasureLeftOut(measure, reason))
        self.planned = [job for job in self.planned if job.cell.dataset not in missing]
        self.outcome.left_out = missing

    def _look_up(self) -> None:
        """Finds what is on record and what is missing."""
        cells = [job.cell for job in self.planned]
        self.store.check_not_newer(cells)
        self.store.remove_replaced(cells)
        self.on_record = look_up(self.planned, self.store, fresh=self.fresh, train=self.train)
        for line in [*describe_stale(self.on_record.known.values()), *self.on_record.remarks]:
            self.listener.notify(Remarked(line))
        check_weights(self.planned, self.store, self.on_record)
        self.records = self.on_record.records
        self.missing = {job.cell.id: self.on_record.find_missing(job) for job in self.planned}
        self.unfinished = {
            job.cell.id: job for job in self.planned if job.cell.id not in self.records or self.missing[job.cell.id]
        }

    def _note_run(self) -> None:
        """Writes the note of the run, and says that it starts."""
        cells = [job.cell for job in self.planned]
        finished = [self.records[cell.id] for cell in cells if cell.id not in self.unfinished]
        if self.train:  # measuring is no run of its own: the latest run stays the one that asked for the networks
            finished = renew_requests(self.planned, finished, self.store)
            self.sequence = self.store.write_run(
                cells,
                self.command,
                suite=self.suite,
                left_out={**self.outcome.left_out, **self.unmeasured},
                folders=_find_own_folders(cells),
                anew=self.on_record.retrain,
                commit=provenance()["commit"],
            ).sequence
        self.outcome.on_record = [record.cell.id for record in finished]
        self.listener.notify(RunStarted(tuple(cells), tuple(finished)))

    def _train_and_measure(self) -> None:
        """Phase 1: trains cells and takes measures of them, several cells at a time, each in a process of its own."""
        jobs = []
        for planned in sorted(self.unfinished.values(), key=_rank_by_duration):
            specs = self._select_missing(planned, alone=False)
            if specs or planned.cell.id not in self.records:
                jobs.append(self._make_job(planned, specs))
        underway: dict[str, str] = {}

        def receive_event(cell_id: str, event: JobEvent) -> None:
            if isinstance(event, Measuring):
                underway[cell_id] = event.spec
            self._record_event(self.unfinished[cell_id], event)

        for cell_id, failure in in_processes(jobs, self._workers, receive_event):
            planned, record = self.unfinished[cell_id], self.records.get(cell_id)
            if failure is not None and record is None:
                # The record of an earlier training keeps its numbers, and the failure marks them.
                record = record_failed_training(planned, failure, self.sequence, self.store.find(planned.cell))
                self.store.write(record)
            elif failure is not None:
                started = [underway[cell_id]] if cell_id in underway else self._select_missing(planned, alone=False)
                record = self._record_failure(planned, started, failure)
            assert record is not None
            self._end_cell(record)

    def _measure_alone(self) -> None:
        """Phase 2: takes the measures that need the machine for themselves, such as speed, one after the other."""
        for planned in self.unfinished.values():
            specs = self._select_missing(planned, alone=True)
            if planned.cell.id in self.records and specs:
                self.listener.notify(MeasuringAlone(planned.cell, tuple(specs)))
                for spec in specs:
                    self._take_alone(planned, spec)
                record = self.records[planned.cell.id]
                self.outcome.note_record(record)
                if set(specs) & record.failures.keys():
                    self.listener.notify(CellEnded(record))

    def _take_alone(self, planned: PlannedCell, spec: str) -> None:
        """Takes one measure in a process of its own, so that nothing of it affects the next."""
        jobs = [self._make_job(planned, [spec])]
        for _, failure in in_processes(jobs, on_event=lambda name, event: self._record_event(planned, event)):
            if failure is not None:
                self._record_failure(planned, [spec], failure)

    def _measure_between(self) -> None:
        """Phase 3: takes the measures from each network to all of the same data set, unless they are on record."""
        for spec in sorted({spec for planned in self.planned for spec in planned.measures}):
            measure = make_measure(spec)
            if not isinstance(measure, MeasureBetween):
                continue
            code = source_of(spec)
            targets = self._find_targets(spec, measure, code)
            jobs = [self._make_job_between(spec, source, records) for source, records in targets.items()]
            if jobs:
                self.listener.notify(MeasuringBetween(spec, len(jobs)))
            for source, result in in_processes(jobs, self._workers):
                record = self.store.read(source)
                if isinstance(result, Exception):
                    record = record_failed_measures(record, [spec], result, self.sequence)
                    self.store.write(record)
                    self._end_cell(record)
                    continue
                rows_by_target, data = result
                for target, rows in zip(targets[source], rows_by_target, strict=True):
                    taken = Measurement(
                        rows, measure.version, provenance(), code=code, data=data, declaration=declaration_of(spec)
                    )
                    self.store.write_between(spec, source, target.cell.id, taken)
                if spec in record.failures:
                    self.store.write(clear_failed_measure(record, spec))

    def _find_targets(self, spec: str, measure: MeasureBetween, code: str | None) -> dict[str, list[Record]]:
        """Returns the identity of a source -> the records of the targets to which the measure is missing."""
        cells = [
            planned.cell for planned in self.planned if spec in planned.measures and planned.cell.id in self.records
        ]
        records = [record for cell in cells if self.store.has_weights(record := self.records[cell.id])]
        targets = {
            source.cell.id: [
                target
                for target in records
                if (target.cell.dataset, target.cell.device) == (source.cell.dataset, source.cell.device)
                and not self.store.has_between(spec, source, target, measure.version, code)
            ]
            for source in records
        }
        return {source: missing for source, missing in targets.items() if missing}

    @property
    def _workers(self) -> int:
        return self.workers or default_workers(self.planned)

    def _select_missing(self, planned: PlannedCell, *, alone: bool) -> list[str]:
        return [spec for spec in self.missing[planned.cell.id] if make_measure(spec).alone == alone]

    def _make_job(self, planned: PlannedCell, specs: list[str]) -> Job:
        record = self.records.get(planned.cell.id)
        return Job(planned.cell.id, run_cell, (planned, specs, record, self.data_folder, self.store))

    def _make_job_between(self, spec: str, source: str, targets: list[Record]) -> Job:
        (planned,) = (job for job in self.planned if job.cell.id == source)
        arguments = (spec, planned, self.records[source], targets, self.data_folder, self.store)
        return Job(source, measure_between, arguments)

    def _record_event(self, planned: PlannedCell, event: JobEvent) -> None:
        """Writes the results in an event of a job, then passes the event on."""
        match event:
            case Trained():
                aliases = self.store.aliases_of(planned.cell)
                self._write_record(record_training(planned, event, self.sequence, aliases))
                self.store.remove_outdated(self.records[planned.cell.id])
            case Measured() | NotMeasured():
                record = self._renew_request(planned)
                event = check_row_names(record, event)
                self._write_record(record_measure(record, event, self.sequence))
        self.listener.notify(JobReported(planned.cell, event))

    def _record_failure(self, planned: PlannedCell, specs: Sequence[str], failure: Exception) -> Record:
        record = record_failed_measures(self._renew_request(planned), specs, failure, self.sequence)
        self._write_record(record)
        return record

    def _renew_request(self, planned: PlannedCell) -> Record:
        return record_request(self.records[planned.cell.id], planned, add=not self.train)

    def _write_record(self, record: Record) -> None:
        self.records[record.cell.id] = record
        self.store.write(record)

    def _end_cell(self, record: Record) -> None:
        self.outcome.note_record(record)
        self.listener.notify(CellEnded(record))

    def _list_left(self) -> None:
        outcome = self.outcome
        ended = {*outcome.on_record, *outcome.finished, *(record.cell.id for record in outcome.failed)}
        outcome.left = [job.cell.id for job in self.planned if job.cell.id not in ended]
        outcome.trained = [cell_id for cell_id in outcome.left if cell_id in self.records]


def default_workers(planned: Sequence[PlannedCell]) -> int:
    """Returns the number of networks that fill the cores; one on a GPU, whose memory several would share."""
    if not planned or any(job.cell.device != "cpu" for job in planned):
        return 1
    return max(1, usable_cores() // max(job.cell.threads for job in planned))


def _find_own_folders(cells: Sequence[Cell]) -> set[Path]:
    """Returns the folders of the modules of a user's own components."""
    parts = {part for cell in cells for part in Parts.from_cell(cell)}
    return {folder for part in parts if (folder := registry.folder_of(part.kind, part.name)) is not None}


def _rank_by_duration(planned: PlannedCell) -> tuple[bool, int]:
    """Returns a key that sorts long trainings first, so that no core is left alone with one at the end.

    CNNs come first, since a CNN of as many parameters does more arithmetic than a capsule network; then many iterations.
    """
    return planned.cell.has_routing, -(planned.cell.iterations or 0)
