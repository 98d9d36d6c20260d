"""Runs the cells of a plan: skips those on record, writes every result at once, and goes on after failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from capsbench.measures.base import MeasureBetween
from capsbench.measures.build import declaration_of, make_measure, source_of
from capsbench.planning.contender_defaults import title_cells
from capsbench.planning.defaults import SECONDS_BETWEEN_CHECKPOINTS
from capsbench.planning.matrix import PlannedCell
from capsbench.records.parts import find_own_folders
from capsbench.records.record import TRAINING, Measurement, Record
from capsbench.records.sharing.leases import Leases
from capsbench.records.software.provenance import provenance
from capsbench.records.software.requirements import record_installed
from capsbench.records.store import Store
from capsbench.records.versions import describe_stale
from capsbench.running.activities import Activities
from capsbench.running.cell_job import measure_between, run_cell
from capsbench.running.events import (
    CellEnded,
    DataLeftOut,
    JobEvent,
    JobReported,
    Listener,
    Measured,
    MeasureLeftOut,
    MeasuringAlone,
    MeasuringBetween,
    NotMeasured,
    Remarked,
    RunStarted,
)
from capsbench.running.executors.base import TO_USER, Executor, Job, Place, Settings
from capsbench.running.executors.local import LocalExecutor, default_workers
from capsbench.running.load_data import check_data, find_own_data, list_cell_files
from capsbench.running.offers import OFFERED_AGAIN, MakeJob, Offers
from capsbench.running.on_record import OnRecord, check_weights, look_up, renew_requests, settle_row_names
from capsbench.running.outcome import Outcome
from capsbench.running.recorder import Recorder
from capsbench.running.schedule import Schedule
from capsbench.running.state import clear_failed_measure, find_missing, record_failed_measures, select_asked


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
        command: noted with the run.
        fresh: train cells again that are on record; an old record stays until then. The next run of these cells, fresh or not,
            trains those again that a fresh run leaves.
        suite: noted with the run.
        leave_out: leave out cells whose data set cannot be loaded, rather than raise.
        unmeasured: default measures that cannot be taken here -> why; noted with the run.
        remarks: lines for the user, before the run starts.
        train: False to measure networks on record only, whatever the versions of their components.
        executor: runs the jobs; by default processes of this machine, as many as fill its cores or GPUs.
        cell_timeout: the time limit of a job in seconds.
        note: further facts for the note of the run (`Run`): ``shard``, ``decides``.
        checkpoint_seconds: the least time between two checkpoints of a training.
        schedule: the order of the cells, and the time that they may take.
    """

    planned: Sequence[PlannedCell]
    store: Store
    data_folder: Path
    listener: Listener
    _: KW_ONLY
    command: str = ""
    fresh: bool = False
    suite: str | None = None
    leave_out: bool = False
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    train: bool = True
    executor: Executor | None = None
    cell_timeout: float | None = None
    note: Mapping[str, Any] = field(default_factory=dict)
    checkpoint_seconds: float = SECONDS_BETWEEN_CHECKPOINTS
    schedule: Schedule = field(default_factory=Schedule)

    outcome: Outcome = field(default_factory=Outcome, init=False)
    on_record: OnRecord = field(init=False)
    recorder: Recorder = field(init=False)
    leases: Leases = field(init=False)
    activities: Activities = field(init=False)
    missing: dict[str, list[str]] = field(init=False)
    """Cell identity -> the measures that this run takes of the network alone."""
    unfinished: dict[str, PlannedCell] = field(init=False)
    """Cell identity -> the cell, for those that are trained or measured in phases 1 and 2."""

    def run(self) -> Outcome:
        """Runs the cells; Ctrl-C ends the run, and the same call later goes on from there.

        Other runs may write into the folder at the same time, from any machine: each cell is run once.

        Raises:
            UsageError: before anything is computed. A data set cannot be loaded; the folder cannot be written; or a measure is
                missing of a network whose weights are not in the folder.
            StorageFailed: a record cannot be written; those written before stay.
        """
        self._check_data()
        self.store.check_writable()
        self.store.sweep()
        with Leases(self.store.folder) as self.leases:
            self.leases.remove_stale()
            self.activities = Activities(self.leases, title_cells(job.cell for job in self.planned))
            self._look_up()
            self._remove_checkpoints()
            self._note_run()
            try:
                if (fault := record_installed(self.store.folder, provenance())) is not None:
                    self.listener.notify(Remarked(fault))
                self._run_phases()
            except KeyboardInterrupt:
                self.outcome.interrupted = True
            finally:
                self._executor.close()
            self.outcome.list_left([job.cell.id for job in self.planned], self.records)
            if not self.outcome.interrupted:
                self.outcome.waiting = self.schedule.list_waiting(self.planned, self.outcome.left, self.outcome.trained)
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
        self.recorder = Recorder(self.store, self.leases, {}, self.train)
        self.recorder.note_stamps(cells)
        self.store.check_not_newer(cells)
        self.store.remove_replaced(cells)
        self.on_record = look_up(self.planned, self.store, fresh=self.fresh, train=self.train)
        for line in [*describe_stale(self.on_record.known.values()), *self.on_record.remarks]:
            self.listener.notify(Remarked(line))
        self.planned, left_out = settle_row_names(self.planned, self.on_record)
        for measure, reason in left_out.items():
            self.listener.notify(MeasureLeftOut(measure, reason))
        check_weights(self.planned, self.store, self.on_record)
        self.recorder.records = self.on_record.records
        self.missing = {job.cell.id: self.on_record.find_missing(job) for job in self.planned}
        self.unfinished = {
            job.cell.id: job for job in self.planned if job.cell.id not in self.records or self.missing[job.cell.id]
        }

    def _remove_checkpoints(self) -> None:
        """Removes what a killed run left of networks that are on record, and in a fresh run the checkpoints of all its cells."""
        if not self.train:
            return
        outdated = {job.cell.id for job in self.planned} if self.fresh else self.records.keys()
        for cell_id in self.store.list_checkpoints() & outdated:
            if self.leases.take(cell_id):  # else another run trains the cell at the moment
                self.store.remove_checkpoint(cell_id)
                self.leases.release(cell_id)

    @property
    def records(self) -> dict[str, Record]:
        """Cell identity -> the present record of each trained network."""
        return self.recorder.records

    def _note_run(self) -> None:
        """Writes the note of the run, and says that it starts."""
        cells = [job.cell for job in self.planned]
        finished = [self.records[cell.id] for cell in cells if cell.id not in self.unfinished]
        if self.train:  # measuring is no run of its own: the latest run stays the one that asked for the networks
            finished = renew_requests(self.planned, finished, self.store, self.leases)
            self.recorder.sequence = self.store.write_run(
                cells,
                self.command,
                suite=self.suite,
                left_out={**self.outcome.left_out, **self.unmeasured},
                folders=find_own_folders(cells),
                data=find_own_data(cells),
                anew=self.on_record.retrain,
                **self.note,
                commit=provenance()["commit"],
            ).sequence
        self.outcome.on_record = [record.cell.id for record in finished]
        self.listener.notify(RunStarted(tuple(cells), tuple(finished)))

    def _run_phases(self) -> None:
        self._train_and_measure()
        self._measure_alone()
        self._measure_between()

    def _train_and_measure(self) -> None:
        """Phase 1: trains cells and takes measures of them, several cells at a time."""

        def make_job(planned: PlannedCell) -> Job | None:
            if self._is_ended_elsewhere(planned) or not self.schedule.admits(planned):
                return None
            specs = self._select_missing(planned, alone=False)
            return self._make_job(planned, specs) if specs or planned.cell.id not in self.records else None

        for planned, result in self._run_jobs(self._find_work(), make_job):
            if isinstance(result, Exception):
                specs = self._select_missing(planned, alone=False)
                self._end_cell(planned, self.recorder.record_failure(planned, specs, result))
            else:
                self._end_cell(planned, self.records[planned.cell.id])

    def _find_work(self) -> list[PlannedCell]:
        """Returns the cells of phase 1, in the order of the schedule."""
        cells = self.schedule.sort(self.unfinished.values())
        return [cell for cell in cells if cell.cell.id not in self.records or self._select_missing(cell, alone=False)]

    def _measure_alone(self) -> None:
        """Phase 2: takes the measures that need a machine for themselves, such as speed, one after the other.

        Each has a process of its own, so that nothing of it affects the next.
        """
        self.schedule.end_training()
        trained = [planned for planned in self.unfinished.values() if planned.cell.id in self.records]
        for spec in sorted({spec for planned in trained for spec in self._select_missing(planned, alone=True)}):

            def make_job(planned: PlannedCell, spec: str = spec) -> Job | None:
                self._is_ended_elsewhere(planned)
                if spec not in self.missing[planned.cell.id] or not self.schedule.admits(planned):
                    return None
                self.listener.notify(MeasuringAlone(planned.cell, (spec,)))
                return self._make_job(planned, [spec])

            work = [planned for planned in trained if spec in self.missing[planned.cell.id]]
            for planned, result in self._run_jobs(work, make_job, alone=True):
                if isinstance(result, Exception):
                    self.recorder.record_failure(planned, {spec} & {*self.missing[planned.cell.id]}, result)
                record = select_asked(self.records[planned.cell.id], planned)
                self.outcome.note_record(record)
                if spec in record.failures:
                    self.listener.notify(CellEnded(record))

    def _measure_between(self) -> None:
        """Phase 3: takes the measures from each network to all of the same data set, unless they are on record."""
        for spec in self._list_between():
            networks = self._find_networks(spec)
            targets = {planned.cell.id: self._find_targets(spec, planned, networks) for planned in networks}
            work = [planned for planned in networks if targets[planned.cell.id]]
            if work:
                self.listener.notify(MeasuringBetween(spec, len(work)))
            make_job = partial(self._make_job_between, spec, targets)
            for planned, result in self._run_jobs(work, make_job, doing=f"measuring {spec}"):
                self._record_between(spec, planned, result)

    def _list_between(self) -> list[str]:
        """Returns the specs of the wanted measures between networks."""
        specs = sorted({spec for planned in self.planned for spec in planned.measures})
        return [spec for spec in specs if isinstance(make_measure(spec), MeasureBetween)]

    def _find_networks(self, spec: str) -> list[PlannedCell]:
        """Returns the trained networks among which a measure is taken."""
        return [
            planned
            for planned in self.planned
            if spec in planned.measures
            and (record := self.records.get(planned.cell.id)) is not None
            and self.store.has_weights(record)
        ]

    def _find_targets(self, spec: str, source: PlannedCell, networks: Sequence[PlannedCell]) -> list[PlannedCell]:
        """Returns the networks to which a measure is missing from one of them."""
        version, code, record = make_measure(spec).version, source_of(spec), self.records[source.cell.id]
        return [
            target
            for target in networks
            if (target.cell.dataset, target.cell.device) == (source.cell.dataset, source.cell.device)
            and not self.store.has_between(spec, record, self.records[target.cell.id], version, code)
        ]

    def _record_between(self, spec: str, source: PlannedCell, result: Any) -> None:
        record = self.store.read(source.cell.id)
        if isinstance(result, Exception):
            record = record_failed_measures(record, [spec], result, self.recorder.sequence)
            self.recorder.write(record)
            self._end_cell(source, record)
            return
        version, code, declaration = make_measure(spec).version, source_of(spec), declaration_of(spec)
        rows_by_target, data, machine = result
        for target, rows in rows_by_target.items():
            taken = Measurement(rows, version, machine, code=code, data=data, declaration=declaration)
            self.store.write_between(spec, source.cell.id, target, taken)
        if spec in record.failures:
            self.recorder.write(clear_failed_measure(record, spec))

    def _run_jobs(
        self, cells: Sequence[PlannedCell], make_job: MakeJob, *, alone: bool = False, doing: str = "starting"
    ) -> Iterator[tuple[PlannedCell, Any]]:
        """Runs a job of each cell under its lease, and yields the cell and the result, which is an exception if it failed.

        Args:
            doing: the work of a job until it sends an event that tells more.
        """
        by_id = {planned.cell.id: planned for planned in cells}
        self.activities.announce(by_id, doing)

        def receive_event(cell_id: str, sent: JobEvent) -> None:
            if cell_id == TO_USER and isinstance(sent, Remarked):
                self.listener.notify(sent)
                return
            if (event := self.recorder.record_event(by_id[cell_id], sent)) is None:
                return
            if isinstance(event, Measured | NotMeasured) and event.spec in self.missing[cell_id]:
                self.missing[cell_id].remove(event.spec)
            self.activities.note_event(cell_id, event)
            self.listener.notify(JobReported(by_id[cell_id].cell, event))

        offers = Offers(
            cells, self.leases, make_job, lambda line: self.listener.notify(Remarked(line)), self.recorder.holds
        )
        for cell_id, outcome in self._executor.run(offers, receive_event, alone=alone):
            if (result := offers.settle(cell_id, outcome)) is not OFFERED_AGAIN:
                yield by_id[cell_id], result
                offers.end(cell_id)

    @property
    def _executor(self) -> Executor:
        if self.executor is None:
            place = Place(self.store, self.data_folder)
            self.executor = LocalExecutor(place, Settings(default_workers(self.planned)))
        return self.executor

    def _is_ended_elsewhere(self, planned: PlannedCell) -> bool:
        """Takes over what another run has recorded of a cell since the start; returns true if that ended the cell."""
        if (record := self.recorder.reread(planned.cell)) is None:
            return False
        missing = find_missing(planned, record)
        self.missing[planned.cell.id] = [spec for spec in missing if spec not in record.failures]
        if TRAINING not in record.failures and self._select_missing(planned, alone=False):
            return False
        self._end_cell(planned, record)
        return True

    def _select_missing(self, planned: PlannedCell, *, alone: bool) -> list[str]:
        return [spec for spec in self.missing[planned.cell.id] if make_measure(spec).alone == alone]

    def _make_job(self, planned: PlannedCell, specs: list[str]) -> Job:
        record = self.records.get(planned.cell.id)
        arguments = (planned, specs, record, self.checkpoint_seconds)
        return self._build_job(run_cell, planned, specs, arguments, [] if record is None else [record])

    def _make_job_between(
        self, spec: str, missing: Mapping[str, Sequence[PlannedCell]], planned: PlannedCell
    ) -> Job | None:
        """Builds the job of a source; ``missing`` has the targets of each by its identity, as the phase began."""
        # Another run may have measured some since; those on record before are not read again.
        found = self._find_targets(spec, planned, missing[planned.cell.id])
        source, targets = self.records[planned.cell.id], [self.records[target.cell.id] for target in found]
        arguments, is_due = (spec, planned, source, targets), bool(targets) and self.schedule.admits(planned)
        return self._build_job(measure_between, planned, [spec], arguments, [source, *targets]) if is_due else None

    def _build_job(
        self,
        function: Callable[..., Any],
        planned: PlannedCell,
        specs: Sequence[str],
        arguments: tuple[Any, ...],
        records: Sequence[Record],
    ) -> Job:
        """Builds a job that may read the files of some records."""
        files = [self.store.weights_of(record) for record in records] or [self.store.checkpoint_path(planned.cell.id)]
        kept = [taken.kept.path for record in records for taken in record.measures.values() if taken.kept is not None]
        return Job(
            planned.cell.id,
            function,
            arguments,
            threads=planned.cell.threads,
            device=planned.device,
            reads=(*(file.relative_to(self.store.folder).as_posix() for file in files), *kept),
            data=list_cell_files(planned.cell, specs, self.data_folder),
            time_limit=self.cell_timeout,
        )

    def _end_cell(self, planned: PlannedCell, record: Record) -> None:
        record = select_asked(record, planned)
        self.outcome.note_record(record)
        self.schedule.note_record(record)
        self.listener.notify(CellEnded(record))
