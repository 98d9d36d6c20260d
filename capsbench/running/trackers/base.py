"""The base of all trackers: from the events of a run to the runs of a tracking tool, one a cell."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from capsbench.planning.contender_defaults import title_cells
from capsbench.records.cell import Cell, Scalar, describe_cell
from capsbench.records.record import TRAINING, Record, Row
from capsbench.running.events import (
    CellEnded,
    JobEvent,
    JobReported,
    Measured,
    MeasuringAlone,
    RunEvent,
    RunStarted,
    Trained,
)
from capsbench.training.loop import EpochEnded, Progress


class Status(StrEnum):
    """How the work on a cell ended."""

    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # by Ctrl-C, or since the results could not be written


class TrackedRun(ABC):
    """One cell in a tracking tool. A method that raises ends the tracking, and never the training."""

    @abstractmethod
    def log_epoch(self, entry: Mapping[str, float]) -> None:
        """Adds an epoch to the curves: ``epoch`` from 1, ``loss``, ``learning_rate``, and what `select_curves` finds."""

    @abstractmethod
    def log_numbers(self, rows: Sequence[Row]) -> None:
        """Adds the numbers of the training or of a measure; `name_number` names one."""

    @abstractmethod
    def end(self, status: Status, reason: str) -> None:
        """Ends the run; the reason is empty unless the cell failed."""

    def pause(self) -> None:
        """Writes out what was added; measures that run alone come after the last training. By default it does nothing."""
        return


class Tracker(ABC):
    """A listener that shows each cell that is trained or measured as one run of a tracking tool.

    A training is a new run. Measures that are taken of a network on record go into the latest run of its cell. Cells on record
    that are not run again are not shown.

    Args:
        folder: a folder for the tool's files, inside the results folder; it need not exist.
    """

    package: ClassVar[str | None] = None
    """The package that it needs, and the extra of capsbench that installs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.titles: dict[str, str] = {}
        self.open_cells: dict[str, _OpenCell] = {}

    @abstractmethod
    def start_run(self, cell: Cell, title: str) -> TrackedRun:
        """Starts the run of a cell; the title names the contender and the seed, `list_parameters` the rest."""

    def reopen_run(self, cell: Cell) -> TrackedRun | None:
        """Returns the latest run of a cell, open again; None if there is none, as by default."""
        return None

    def describe(self) -> str:
        """Returns a line on where its runs are seen; empty for none, as by default."""
        return ""

    @classmethod
    def explain_missing(cls) -> str | None:
        """Returns the reason why it cannot be used here; None if it can."""
        if cls.package is None or _is_installed(cls.package):
            return None
        return f'{cls.package} is not installed; pip install "capsbench[{cls.package}]"'

    def notify(self, event: RunEvent) -> None:
        """Passes an event on to the run of its cell."""
        match event:
            case RunStarted(cells):
                self.titles = title_cells(cells)
            case JobReported(cell, report):
                self._follow_job(cell, report)
            case MeasuringAlone(cell, specs):
                self._open_cell(cell).await_measures(specs)
            case CellEnded(record):
                self._end_cell(record)

    def close(self) -> None:
        """Ends the runs of the cells whose work did not end."""
        while self.open_cells:
            self.open_cells.popitem()[1].run.end(Status.INTERRUPTED, "")

    def _follow_job(self, cell: Cell, report: JobEvent) -> None:
        is_training = isinstance(report, Progress | EpochEnded | Trained)
        open_cell = self._open_cell(cell, anew=is_training)
        match report:
            case EpochEnded(entry):
                open_cell.log_epoch(entry)
            case Trained(rows=rows):
                open_cell.run.log_numbers(rows)
            case Measured(spec, rows):
                open_cell.run.log_numbers(rows)
                if open_cell.is_last_measure(spec):
                    self._end_run(cell.id)

    def _end_cell(self, record: Record) -> None:
        """Ends the run of a cell, unless measures are still to be taken of it alone."""
        cell = record.cell
        if cell.id not in self.open_cells and not record.reason:
            return  # another process ran it
        open_cell = self._open_cell(cell, anew=TRAINING in record.failures)
        open_cell.reason = record.reason
        left = {*record.wanted} - record.measures.keys() - record.failures.keys()
        if left and TRAINING not in record.failures:
            open_cell.await_measures(left)
            open_cell.run.pause()
        else:
            self._end_run(cell.id)

    def _open_cell(self, cell: Cell, *, anew: bool = False) -> _OpenCell:
        if cell.id not in self.open_cells:
            run = None if anew else self.reopen_run(cell)
            if run is None:
                run = self.start_run(cell, self.titles.get(cell.id, cell.title))
            self.open_cells[cell.id] = _OpenCell(run)
        return self.open_cells[cell.id]

    def _end_run(self, cell_id: str) -> None:
        open_cell = self.open_cells.pop(cell_id)
        open_cell.run.end(Status.FAILED if open_cell.reason else Status.FINISHED, open_cell.reason)


@dataclass
class _OpenCell:
    """A cell at work: its run, the epochs in it, and the measures after which the work ends; None if the job tells its end."""

    run: TrackedRun
    epochs: set[float] = field(default_factory=set)
    awaited: set[str] | None = None
    reason: str = ""

    def log_epoch(self, entry: Mapping[str, float]) -> None:
        """Logs an epoch once: a job that starts again on another machine sends its epochs again."""
        if entry["epoch"] not in self.epochs:
            self.epochs.add(entry["epoch"])
            self.run.log_epoch(entry)

    def await_measures(self, specs: Iterable[str]) -> None:
        self.awaited = {*(self.awaited or ()), *specs}

    def is_last_measure(self, spec: str) -> bool:
        if self.awaited is None:
            return False
        self.awaited.discard(spec)
        return not self.awaited


def list_parameters(cell: Cell) -> dict[str, Scalar]:
    """Returns the fields and options of a cell that have a value, with its identity as ``cell``."""
    return {name: value for name, value in describe_cell(cell).items() if value is not None}


def select_curves(entry: Mapping[str, float]) -> dict[str, float]:
    """Returns what is drawn over the epochs: ``loss``, ``validation_accuracy`` or ``validation_loss``, ``learning_rate``."""
    return {name: value for name, value in entry.items() if name not in ("epoch", "seconds")}


def name_number(row: Row) -> str:
    """Returns the name of a number: ``accuracy/accuracy/test``, or with its level ``affine/accuracy/rotation 30``."""
    level = "" if row.level is None else f" {row.level:g}"
    return f"{row.measure}/{row.metric}/{row.condition}{level}"


def _is_installed(package: str) -> bool:
    """Returns true for an installed package; a folder of its name, as a tool leaves behind, is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None
