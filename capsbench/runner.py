"""Runs cells: skips what is on record, keeps what is finished, survives what fails.

A run has two phases. First the networks are trained, several at a time, each in a process of its own. Then what has to be
measured alone, such as speed, is measured one cell after the other with nothing else running. A record is written after
each, so that neither phase is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from capsbench.cell import Cell
from capsbench.data.base import few, load_splits
from capsbench.errors import ProcessFailed, StorageFailed, UsageError
from capsbench.experiment import Trained, measure_cell, train_cell
from capsbench.matrix import usable_cores
from capsbench.measures.build import make_measure
from capsbench.process import Job, in_processes
from capsbench.provenance import provenance
from capsbench.store import Record, Store
from capsbench.training import Progress


class Listener(Protocol):
    """What is told of a run as it goes; `capsbench.progress` shows it on a terminal."""

    def data_left_out(self, dataset: str, cells: int, reason: str) -> None: ...

    def run_started(self, cells: Sequence[Cell], on_record: Sequence[Record]) -> None: ...

    def cell_progressed(self, cell: Cell, progress: Progress) -> None: ...

    def cell_ended(self, record: Record) -> None: ...

    def measuring_alone(self, cell: Cell, measures: Sequence[str]) -> None: ...


@dataclass
class Outcome:
    """What became of a run: cells finished now, on record before, failed with their records, and left by Ctrl-C.

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
) -> Outcome:
    """Runs cells and writes a record of each.

    A cell with a finished record is skipped, one that is trained is only measured, a failed one is tried again. Ctrl-C ends
    the run with all that is finished on record, and the same call goes on from there.

    Args:
        workers: networks trained at a time; by default as many as fill the cores, and one where a GPU is used.
        fresh: run cells again that are on record; an old record stays until the new one replaces it.
        suite: noted with the run.
        leave_out: leave out cells whose data set cannot be had, rather than raise.

    Raises:
        UsageError: a data set that cannot be had, or none of them, a folder that cannot be written or that another run
            holds: before anything is computed.
        StorageFailed: a record cannot be written; what was written before stays.
    """
    left_out = check_data(cells, data_folder, leave_out)
    for dataset, reason in left_out.items():
        listener.data_left_out(dataset, sum(cell.dataset == dataset for cell in cells), reason)
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
        store.write_run(cells, command, suite, left_out)
        listener.run_started(cells, finished)
        untrained = [cell for cell in cells if cell.id not in known]
        try:
            _train(untrained, workers or default_workers(cells), data_folder, store, listener, outcome, trained)
            _measure_alone([c for c in cells if c.id in trained], data_folder, store, listener, outcome, trained)
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
        raise UsageError(f"none of the data sets can be had here: {reasons}")
    return missing


def default_workers(cells: Sequence[Cell]) -> int:
    """As many networks at a time as fill the cores; one where a GPU is used, whose memory they would share."""
    if not cells or any(cell.device != "cpu" for cell in cells):
        return 1
    return max(1, usable_cores() // max(cell.threads for cell in cells))


def _train(
    cells: Sequence[Cell],
    workers: int,
    data_folder: Path,
    store: Store,
    listener: Listener,
    outcome: Outcome,
    trained: dict[str, Record],
) -> None:
    """Trains cells and takes the measures that need not be alone; adds to ``trained`` what is yet to be measured."""
    by_id = {cell.id: cell for cell in cells}
    jobs = [Job(cell.id, train_cell, (cell, _measures(cell, alone=False), data_folder, store)) for cell in cells]
    for name, result in in_processes(jobs, workers, lambda n, event: listener.cell_progressed(by_id[n], event)):
        cell = by_id[name]
        if isinstance(result, Trained):
            record = Record(
                cell=cell,
                status="trained" if _measures(cell, alone=True) else "finished",
                rows=result.rows,
                history=result.history,
                provenance={
                    **provenance(),
                    "backend": ", ".join(result.backends) or None,
                    "threads": cell.threads,
                    "started": result.started,
                    "seconds": result.seconds,
                },
            )
        else:
            record = _failed(cell, result)
        if record.status != "failed" or not store.has(cell):  # a failure takes no finished result away
            store.write(record)
        if record.status == "trained":
            trained[name] = record
        _note(record, outcome)
        listener.cell_ended(record)


def _measure_alone(
    cells: Sequence[Cell],
    data_folder: Path,
    store: Store,
    listener: Listener,
    outcome: Outcome,
    trained: dict[str, Record],
) -> None:
    for cell in cells:
        record = trained[cell.id]
        measures = _measures(cell, alone=True)
        listener.measuring_alone(cell, measures)
        jobs = [Job(spec, measure_cell, (cell, [spec], data_folder, store)) for spec in measures]
        rows = list(record.rows)
        for _, result in in_processes(jobs):
            if isinstance(result, Exception):
                failure = _failed(cell, result)
                # What came with the training stays; the same run takes all of these measures again, so none is kept.
                record = replace(record, reason=failure.reason, provenance=record.provenance | failure.provenance)
                break
            rows += result
        else:
            facts = {key: fact for key, fact in record.provenance.items() if key not in ("failed", "traceback")}
            facts["measured"] = provenance()
            record = replace(record, status="finished", reason="", rows=rows, provenance=facts)
        store.write(record)
        _note(record, outcome)
        if record.reason:
            listener.cell_ended(record)


def _measures(cell: Cell, *, alone: bool) -> list[str]:
    return [spec for spec in cell.measures if make_measure(spec).alone == alone]


def _failed(cell: Cell, failure: Exception) -> Record:
    """The record of a failure; raises one that would meet every other cell as well."""
    if isinstance(failure, StorageFailed):
        raise failure
    facts = {**provenance(), "threads": cell.threads, "failed": datetime.now(UTC).isoformat(timespec="seconds")}
    if isinstance(failure, ProcessFailed) and failure.trace:
        facts["traceback"] = failure.trace
    return Record(cell=cell, status="failed", reason=str(failure), provenance=facts)


def _note(record: Record, outcome: Outcome) -> None:
    if record.status == "finished":
        outcome.finished.append(record.cell.id)
    elif record.reason:
        outcome.failed.append(record)
