"""Shows a run: live bars on a terminal and in a notebook, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from capsbench.measures.accuracy.spec import TEST_ACCURACY
from capsbench.planning.contender_defaults import title_cells
from capsbench.planning.duration import spell_duration
from capsbench.planning.request import spell_flag
from capsbench.presenting.terminal import to_one_line
from capsbench.records.cell import Cell
from capsbench.records.record import Record
from capsbench.records.software.provenance import provenance
from capsbench.running.events import (
    CellEnded,
    DataLeftOut,
    JobReported,
    MeasureLeftOut,
    Measuring,
    MeasuringAlone,
    MeasuringBetween,
    Remarked,
    Resumed,
    RunEvent,
    RunStarted,
    Trained,
)
from capsbench.training.loop import Progress

SECONDS_BETWEEN_LINES = 60.0


class PlainProgress:
    """Prints a line for each cell that ended, and a line a minute for each in training; for logs, pipes and CI."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.total = 0
        self.ended: set[str] = set()
        self.printed_at: dict[str, float] = {}
        self.trained: set[str] = set()
        self.measured: dict[str, list[str]] = {}
        self.titles: dict[str, str] = {}

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    def notify(self, event: RunEvent) -> None:
        """Prints the line of an event, if it has one."""
        match event:
            case Remarked(remark):
                self.print_line(remark)
            case DataLeftOut(dataset, cells, reason):
                self.print_line(f"left out, {cells} cells of {dataset}: {reason}")
            case MeasureLeftOut(measure, reason):
                self.print_line(f"left out, the measure {measure}: {reason}")
            case RunStarted(cells, on_record):
                self.total, self.ended = len(cells), {record.cell.id for record in on_record}
                self.titles = title_cells(cells)
                for line in _describe_on_record(on_record):
                    self.print_line(line)
            case JobReported(cell, Progress() as progress):
                self.print_progress(cell, progress)
            case JobReported(cell, Resumed(epoch, epochs)):
                self.trained.add(cell.id)
                self.print_line(f"{self.get_title(cell)}: goes on after epoch {epoch} of {epochs}")
            case JobReported(cell, Remarked(remark)):
                self.print_line(f"{self.get_title(cell)}: {remark}")
            case JobReported(cell, Trained()):
                self.trained.add(cell.id)
            case JobReported(cell, Measuring(spec)):
                self.measured.setdefault(cell.id, []).append(spec)
            case CellEnded(record):
                self.ended.add(record.cell.id)
                title = self.get_title(record.cell)
                self.print_line(f"[{len(self.ended)}/{self.total}] {title}: {self.describe_result(record)}")
            case MeasuringAlone() | MeasuringBetween():
                self.print_line(self.describe_phase(event))

    def print_progress(self, cell: Cell, progress: Progress) -> None:
        """Prints the progress of a training, unless its last line is not a minute old."""
        now = time.monotonic()
        if now - self.printed_at.setdefault(cell.id, now) >= SECONDS_BETWEEN_LINES:
            self.printed_at[cell.id] = now
            self.print_line(f"{self.get_title(cell)}: {progress.done:.0%}, {_describe_progress(progress)}")

    def get_title(self, cell: Cell) -> str:
        return self.titles.get(cell.id, cell.title)

    def describe_result(self, record: Record) -> str:
        """Returns the reason of a failure, else the test accuracy and what the run did for the cell."""
        if record.reason:
            return f"FAILED: {record.reason}"
        # Another run may have taken what was missing.
        measures = self.measured.get(record.cell.id)
        work = f"measured {', '.join(measures)}" if measures else "found on record"
        if record.cell.id in self.trained:
            seconds = record.training.seconds if record.training else None
            work = "trained" if seconds is None else f"trained in {spell_duration(seconds)}"
            work = "weights given" if record.cell.is_given else work
        accuracies = [row.value for row in record.rows if row[:3] == TEST_ACCURACY]
        return f"test accuracy {accuracies[0]:.1%}, {work}" if accuracies else work

    def describe_phase(self, event: MeasuringAlone | MeasuringBetween) -> str:
        """Returns a line about measures that are taken apart from the trainings."""
        if isinstance(event, MeasuringAlone):
            return f"{self.get_title(event.cell)}: measuring {', '.join(event.measures)} with nothing else running"
        return f"measuring {event.measure} from each of {event.networks} networks to the others"

    def print_line(self, line: str) -> None:
        """Prints a line of plain text, never folded."""
        self.console.print(Text(to_one_line(line)), soft_wrap=True)


class LiveProgress(PlainProgress):
    """Shows a bar for the run and one for each cell in training, below a line for each cell that ended."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.run_bar = self.bars.add_task("cells", total=None, detail="")
        self.cell_bars: dict[str, TaskID] = {}
        self.before = 0

    def __enter__(self) -> LiveProgress:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bars.stop()

    def notify(self, event: RunEvent) -> None:
        """Moves the bars, and prints the lines that stay."""
        match event:
            case JobReported(_, Progress()) | MeasuringAlone() | MeasuringBetween():
                pass  # a bar shows it
            case _:
                super().notify(event)
        match event:
            case RunStarted():
                self.before = len(self.ended)
                self.bars.update(
                    self.run_bar, total=self.total - self.before, detail="starting; a first run compiles kernels"
                )
            case JobReported(cell, Progress() as progress):
                if cell.id not in self.cell_bars:
                    self.cell_bars[cell.id] = self.bars.add_task(self.get_title(cell), total=1.0, detail="")
                self.bars.update(self.cell_bars[cell.id], completed=progress.done, detail=_describe_progress(progress))
                self.advance_run()
            case JobReported(cell, Measuring(spec)) if cell.id in self.cell_bars:
                self.bars.update(self.cell_bars[cell.id], completed=1.0, detail=f"measuring {spec}")
            case CellEnded(record):
                if record.cell.id in self.cell_bars:
                    self.bars.remove_task(self.cell_bars.pop(record.cell.id))
                self.advance_run()
            case MeasuringAlone() | MeasuringBetween():
                self.bars.update(self.run_bar, detail=self.describe_phase(event))

    def advance_run(self) -> None:
        """Moves the bar of the run: cells that ended, and the finished parts of those in training."""
        in_training = sum(self.bars.tasks[self.bars.task_ids.index(bar)].completed for bar in self.cell_bars.values())
        done = len(self.ended) - self.before
        detail = f"training, {done} of {self.total - self.before} done"
        self.bars.update(self.run_bar, completed=done + in_training, detail=detail)


def make_progress(console: Console) -> PlainProgress:
    """Makes live bars for a terminal or a notebook, plain lines for anything else."""
    if console.is_jupyter:
        from capsbench.running.notebook import NotebookProgress  # is a LiveProgress itself

        return NotebookProgress(console)
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


def _describe_progress(progress: Progress) -> str:
    validation = "" if progress.validation is None else f", validation {progress.validation}"
    return f"epoch {progress.epoch} of {progress.epochs}, loss {progress.loss:.3g}{validation}"


def _describe_on_record(on_record: Sequence[Record]) -> list[str]:
    """Returns lines about cells that are not run again, and about other versions and machines that made them."""
    if not on_record:
        return []
    cells = "1 cell is" if len(on_record) == 1 else f"{len(on_record)} cells are"
    lines = [f"{cells} on record already and not run again (`{spell_flag('fresh')}` does, in Python `fresh=True`)"]
    now = provenance()
    for key in ("capsbench", "commit", "torch", "cpu", "gpu"):
        others = sorted({str(record.provenance.get(key)) for record in on_record} - {str(now[key])})
        if others:
            lines.append(f"note: some of them were made with {key} {', '.join(others)}; here it is {now[key]}")
    return lines
