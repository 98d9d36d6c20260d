"""Runs cells: skips what is on record, keeps what is finished, survives what fails.

A run has three phases. First the networks are trained and measured, several at a time, each in a process of its own. Then
what has to be measured alone, such as speed, is measured one cell after the other with nothing else running. Last come the
measures between networks. A record is written as soon as there is more to write, so that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from capsbench.data.base import load_splits
from capsbench.data.draws import few
from capsbench.errors import Kind, UsageError
from capsbench.measures.base import MeasureBetween
from capsbench.measures.build import make_measure
from capsbench.planning.matrix import usable_cores
from capsbench.records.cell import Cell
from capsbench.records.provenance import provenance
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.running.cell_job import measure_between, run_cell
from capsbench.running.events import Measured, Measuring, NotMeasured, Trained
from capsbench.running.executors.local import Job, in_processes
from capsbench.running.state import (
    FAILED_MEASURES,
    failed_record,
    mended_record,
    missing_measures,
    record_after,
    record_of,
    without_measures,
)
from capsbench.training.loop import Progress


class Listener(Protocol):
    """What is told of a run as it goes; `capsbench.running.progress` shows it on a terminal."""

    def remarked(self, remark: str) -> None: ...

    def data_left_out(self, dataset: str, cells: int, reason: str) -> None: ...

    def measure_left_out(self, measure: str, reason: str) -> None: ...

    def run_started(self, cells: Sequence[Cell], on_record: Sequence[Record]) -> None: ...

    def cell_progressed(self, cell: Cell, progress: Progress) -> None: ...

    def cell_ended(self, record: Record) -> None: ...

    def cell_measuring(self, cell: Cell, measure: str) -> None: ...

    def measuring_alone(self, cell: Cell, measures: Sequence[str]) -> None: ...

    def measuring_between(self, measure: str, networks: int) -> None: ...


@dataclass
class Outcome:
    """What became of a run: cells finished now, on record before, failed with their records, and left by Ctrl-C.

    Failed are those that could not be trained, and those of which a measure could not be taken; what else was is on record.
    Of those left, ``trained`` are on record and only have to be measured. ``left_out`` says of each data set that could not be
    had why not; its cells are none of the run's.
    """

    finished: list[str] = field(default_factory=list)
    on_record: list[str] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)
    interrupted: bool = False
    left_out: dict[str, str] = field(default_factory=dict)


def run_cells(
    cells: Sequence[Cell],
    store: Store,
    data_folder: Path,
    listener: Listener,
    *,
    workers: int | None = None,
    command: str = "",
    fresh: bool = False,
    suite: str | None = None,
    leave_out: bool = False,
    unmeasured: Mapping[str, str] | None = None,
    remarks: Sequence[str] = (),
) -> Outcome:
    """Runs cells and writes a record of each.

    A cell with a finished record is skipped, one that is trained is only measured, a failed one is tried again. Ctrl-C ends
    the run with all that is finished on record, and the same call goes on from there.

    Args:
        workers: networks trained at a time; by default as many as fill the cores, and one where a GPU is used.
        fresh: run cells again that are on record; an old record stays until its network is trained anew.
        suite: noted with the run.
        leave_out: leave out cells whose data set cannot be had, rather than raise.
        unmeasured: what is not measured here though it would be elsewhere, and why; told, and noted with the run.
        remarks: what else is to be told of the cells before they are run.

    Raises:
        UsageError: a data set that cannot be had, or none of them, a folder that cannot be written or that another run
            holds: before anything is computed.
        StorageFailed: a record cannot be written; what was written before stays.
    """
    left_out = check_data(cells, data_folder, leave_out)
    for remark in remarks:
        listener.remarked(remark)
    for dataset, reason in left_out.items():
        listener.data_left_out(dataset, sum(cell.dataset == dataset for cell in cells), reason)
    for measure, reason in (unmeasured or {}).items():
        listener.measure_left_out(measure, reason)
    cells = [cell for cell in cells if cell.dataset not in left_out]
    store.check_writable()
    with store.lock():
        known = {} if fresh else {cell.id: store.read(cell.id) for cell in cells if store.has(cell)}
        # What is yet to be measured is measured of the weights: without them the cell is trained again.
        known = {
            cell_id: record
            for cell_id, record in known.items()
            if record.status == "finished" or store.weights_path(cell_id).exists()
        }
        finished = [record for record in known.values() if record.status == "finished"]
        trained = {cell_id: record for cell_id, record in known.items() if record.status == "trained"}
        outcome = Outcome(on_record=[record.cell.id for record in finished], left_out=left_out)
        store.write_run(cells, command, suite, {**left_out, **(unmeasured or {})})
        listener.run_started(cells, finished)
        done = {record.cell.id for record in finished}
        unfinished = [cell for cell in cells if cell.id not in done]
        try:
            at_a_time = workers or default_workers(cells)
            _in_training(unfinished, at_a_time, data_folder, store, listener, outcome, trained)
            _alone([cell for cell in unfinished if cell.id in trained], data_folder, store, listener, outcome, trained)
            _between(cells, at_a_time, data_folder, store, listener, outcome, fresh)
        except KeyboardInterrupt:
            outcome.interrupted = True
        ended = {*outcome.on_record, *outcome.finished, *(record.cell.id for record in outcome.failed)}
        outcome.left = [cell.id for cell in cells if cell.id not in ended]
        outcome.trained = [cell for cell in outcome.left if cell in trained]
    return outcome


def check_data(cells: Sequence[Cell], data_folder: Path, leave_out: bool = False) -> dict[str, str]:
    """Loads every data set once, so that a missing file or too large a train size ends the run before it starts.

    Returns:
        With ``leave_out``: data set -> why it cannot be had.

    Raises:
        UsageError: a data set cannot be had, with ``leave_out`` none of them; or a train size that one does not have.
    """
    missing = {}
    datasets = sorted({cell.dataset for cell in cells})
    for dataset in datasets:
        try:
            train = load_splits(dataset, data_folder).train
        except UsageError as error:
            if not leave_out:
                raise
            missing[dataset] = str(error)
            continue
        for size in sorted({cell.train_size for cell in cells if cell.dataset == dataset and cell.train_size}):
            few(train, size, seed=0, name=dataset)
    if missing and len(missing) == len(datasets):
        reasons = "; ".join(f"{dataset}: {reason}" for dataset, reason in missing.items())
        problem = f"none of the data can be had here: {reasons}"
        raise UsageError(Kind.MISSING, problem, flag="dataset", value=", ".join(missing))
    return missing


def default_workers(cells: Sequence[Cell]) -> int:
    """As many networks at a time as fill the cores; one where a GPU is used, whose memory they would share."""
    if not cells or any(cell.device != "cpu" for cell in cells):
        return 1
    return max(1, usable_cores() // max(cell.threads for cell in cells))


def _in_training(
    cells: Sequence[Cell],
    workers: int,
    data_folder: Path,
    store: Store,
    listener: Listener,
    outcome: Outcome,
    trained: dict[str, Record],
) -> None:
    """Trains cells and takes the measures that need not be alone, as far as a record in ``trained`` does not have them."""
    by_id = {cell.id: cell for cell in cells}
    jobs = [
        Job(
            cell.id,
            run_cell,
            (cell, missing_measures(cell, trained.get(cell.id)), cell.id in trained, data_folder, store),
        )
        for cell in sorted(cells, key=_longest_first)
        if cell.id not in trained or missing_measures(cell, trained[cell.id])
    ]

    underway: dict[str, str] = {}

    def received(name: str, event: Progress | Trained | Measuring | Measured | NotMeasured) -> None:
        cell = by_id[name]
        if isinstance(event, Progress):
            listener.cell_progressed(cell, event)
        elif isinstance(event, Measuring):
            underway[name] = event.spec
            listener.cell_measuring(cell, event.spec)
        else:
            trained[name] = record_of(cell, event) if isinstance(event, Trained) else record_after(trained[name], event)
            store.write(trained[name])

    for name, failure in in_processes(jobs, workers, received):
        cell = by_id[name]
        record = trained.get(name)
        if failure is not None and record is None:
            record = failed_record(cell, failure)
            if not store.has(cell):  # a failure takes no finished result away
                store.write(record)
        elif failure is not None:
            assert record is not None
            specs = [underway[name]] if name in underway else missing_measures(cell, record)
            trained[name] = record = without_measures(record, specs, failure)
            store.write(record)
        assert record is not None
        _note(record, outcome)
        listener.cell_ended(record)


def _alone(
    cells: Sequence[Cell],
    data_folder: Path,
    store: Store,
    listener: Listener,
    outcome: Outcome,
    trained: dict[str, Record],
) -> None:
    """Takes the measures that have to be alone, one after the other with nothing else running."""
    for cell in cells:
        measures = missing_measures(cell, trained[cell.id], alone=True)
        if not measures:
            continue
        listener.measuring_alone(cell, measures)

        def received(spec: str, event: Measuring | Measured | NotMeasured, cell: Cell = cell) -> None:
            if not isinstance(event, Measuring):
                record = record_after(trained[cell.id], event)
                facts = {**record.provenance, "measured": provenance()}
                trained[cell.id] = replace(record, provenance=facts)
                store.write(trained[cell.id])

        # One job at a time, each in a process of its own: nothing of one measure bleeds into the next.
        jobs = [Job(spec, run_cell, (cell, [spec], True, data_folder, store)) for spec in measures]
        for spec, failure in in_processes(jobs, on_event=received):
            if failure is not None:
                trained[cell.id] = without_measures(trained[cell.id], [spec], failure)
                store.write(trained[cell.id])
        _note(trained[cell.id], outcome)
        if set(measures) & set(trained[cell.id].provenance.get(FAILED_MEASURES, {})):
            listener.cell_ended(trained[cell.id])


def _between(
    cells: Sequence[Cell],
    workers: int,
    data_folder: Path,
    store: Store,
    listener: Listener,
    outcome: Outcome,
    fresh: bool,
) -> None:
    """Takes the measures between networks, from each to each of the same data set, as far as they are not on record."""
    for spec in sorted({spec for cell in cells for spec in cell.measures}):
        if not isinstance(make_measure(spec), MeasureBetween):
            continue
        measured = [
            cell for cell in cells if spec in cell.measures and store.has(cell) and store.weights_path(cell.id).exists()
        ]
        jobs, asked = [], {}
        for source in measured:
            targets = [
                cell
                for cell in measured
                if (cell.dataset, cell.device) == (source.dataset, source.device)
                and (fresh or not store.has_between(spec, source.id, cell.id))
            ]
            if targets:
                asked[source.id] = (source, targets)
                jobs.append(Job(source.id, measure_between, (spec, source, targets, data_folder, store)))
        if jobs:
            listener.measuring_between(spec, len(jobs))
        for name, result in in_processes(jobs, workers):
            source, targets = asked[name]
            record = store.read(source.id)
            if isinstance(result, Exception):
                record = without_measures(record, [spec], result)
                store.write(record)
                _note(record, outcome)
                listener.cell_ended(record)
                continue
            for cell, rows in zip(targets, result, strict=True):
                store.write_between(spec, source.id, cell.id, rows)
            if spec in record.provenance.get(FAILED_MEASURES, {}):
                store.write(mended_record(record, spec))


def _longest_first(cell: Cell) -> tuple[bool, int]:
    """Sorts what takes long to the front, so that no core is left alone with it in the end: CNNs, then many iterations.

    A CNN of as many parameters as a capsule network does more arithmetic than it.
    """
    return cell.routing is not None, -(cell.iterations or 0)


def _note(record: Record, outcome: Outcome) -> None:
    """Notes what became of a cell, in the place of what was noted of it before."""
    for noted in (outcome.finished, outcome.on_record):
        if record.cell.id in noted:
            noted.remove(record.cell.id)
    outcome.failed[:] = [other for other in outcome.failed if other.cell.id != record.cell.id]
    if record.reason:
        outcome.failed.append(record)
    elif record.status == "finished":
        outcome.finished.append(record.cell.id)
