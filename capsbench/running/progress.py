"""What a person sees of a run: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from capsbench.measures.accuracy.spec import TEST_ACCURACY
from capsbench.planning.contender_defaults import title_cells
from capsbench.planning.request import spelled
from capsbench.presenting.terminal import one_line
from capsbench.records.cell import Cell
from capsbench.records.provenance import provenance
from capsbench.records.record import Record
from capsbench.training.loop import Progress as TrainingProgress

SECONDS_BETWEEN_LINES = 60.0


class PlainProgress:
    """A line a cell that ended, and a line a minute of each in training; for logs, pipes and CI."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.total = 0
        self.over: set[str] = set()
        self.said: dict[str, float] = {}
        self.trained: set[str] = set()
        self.measured: dict[str, list[str]] = {}
        self.titles: dict[str, str] = {}

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    @property
    def ended(self) -> int:
        """Cells that have ended, each once, however often there is more to say of one."""
        return len(self.over)

    def remarked(self, remark: str) -> None:
        self.say(remark)

    def data_left_out(self, dataset: str, cells: int, reason: str) -> None:
        self.say(f"left out, {cells} cells of {dataset}: {reason}")

    def measure_left_out(self, measure: str, reason: str) -> None:
        self.say(f"left out, the measure {measure}: {reason}")

    def run_started(self, cells: Sequence[Cell], on_record: Sequence[Record]) -> None:
        self.total, self.over = len(cells), {record.cell.id for record in on_record}
        self.titles = title_cells(cells)
        for line in _about_record(on_record):
            self.say(line)

    def cell_progressed(self, cell: Cell, progress: TrainingProgress) -> None:
        self.trained.add(cell.id)
        now = time.monotonic()
        if now - self.said.setdefault(cell.id, now) >= SECONDS_BETWEEN_LINES:
            self.said[cell.id] = now
            self.say(f"{self._title(cell)}: {progress.done:.0%}, {_detail(progress)}")

    def cell_ended(self, record: Record) -> None:
        self.over.add(record.cell.id)
        self.say(f"[{self.ended}/{self.total}] {self._title(record.cell)}: {_result(record, self._made(record))}")

    def _title(self, cell: Cell) -> str:
        return self.titles.get(cell.id, cell.title)

    def _made(self, record: Record) -> str:
        """What the run did for a cell."""
        if record.cell.id not in self.trained:
            return f"measured {', '.join(self.measured.get(record.cell.id, []))}"
        seconds = record.training.seconds if record.training else None
        return "trained" if seconds is None else f"trained in {seconds:.0f} s"

    def cell_measuring(self, cell: Cell, measure: str) -> None:
        self.measured.setdefault(cell.id, []).append(measure)

    def measuring_between(self, measure: str, networks: int) -> None:
        self.say(f"measuring {measure} from each of {networks} networks to the others")

    def measuring_alone(self, cell: Cell, measures: Sequence[str]) -> None:
        self.say(f"{self._title(cell)}: measuring {', '.join(measures)} with nothing else running")

    def say(self, line: str) -> None:
        """Prints a line of plain text, never folded."""
        self.console.print(Text(one_line(line)), soft_wrap=True)


class LiveProgress(PlainProgress):
    """A bar over the run and one over the epochs of each cell in training, above them a line for each cell that ended."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.bars = Progress(
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

    def run_started(self, cells: Sequence[Cell], on_record: Sequence[Record]) -> None:
        super().run_started(cells, on_record)
        self.before = self.ended
        self.bars.update(self.run_bar, total=self.total - self.before, detail="starting")

    def cell_progressed(self, cell: Cell, progress: TrainingProgress) -> None:
        self.trained.add(cell.id)
        if cell.id not in self.cell_bars:
            self.cell_bars[cell.id] = self.bars.add_task(self._title(cell), total=1.0, detail="")
        self.bars.update(self.cell_bars[cell.id], completed=progress.done, detail=_detail(progress))
        self._advance("training")

    def cell_ended(self, record: Record) -> None:
        super().cell_ended(record)
        if record.cell.id in self.cell_bars:
            self.bars.remove_task(self.cell_bars.pop(record.cell.id))
        self._advance("training")

    def cell_measuring(self, cell: Cell, measure: str) -> None:
        super().cell_measuring(cell, measure)
        if cell.id in self.cell_bars:
            self.bars.update(self.cell_bars[cell.id], completed=1.0, detail=f"measuring {measure}")

    def measuring_between(self, measure: str, networks: int) -> None:
        self.bars.update(self.run_bar, detail=f"measuring {measure} from each of {networks} networks to the others")

    def measuring_alone(self, cell: Cell, measures: Sequence[str]) -> None:
        self.bars.update(self.run_bar, detail=f"measuring {', '.join(measures)} alone: {self._title(cell)}")

    def _advance(self, detail: str) -> None:
        in_training = sum(self.bars.tasks[self.bars.task_ids.index(bar)].completed for bar in self.cell_bars.values())
        done = self.ended - self.before
        detail = f"{detail}, {done} of {self.total - self.before} done"
        self.bars.update(self.run_bar, completed=done + in_training, detail=detail)


def make_progress(console: Console) -> PlainProgress:
    """Live bars where the console is a terminal, plain lines where it is not."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


def _detail(progress: TrainingProgress) -> str:
    shown = "" if progress.validation is None else f", validation {progress.validation}"
    return f"epoch {progress.epoch} of {progress.epochs}, loss {progress.loss:.3g}{shown}"


def _result(record: Record, made: str) -> str:
    if record.reason:
        return f"FAILED: {record.reason}"
    accuracy = [row.value for row in record.rows if row[:3] == TEST_ACCURACY]
    shown = f"test accuracy {accuracy[0]:.1%}, " if accuracy else ""
    return f"{shown}{made}"


def _about_record(on_record: Sequence[Record]) -> list[str]:
    """What is said of cells that are not run again, and where they come from other code than is here now."""
    if not on_record:
        return []
    lines = [f"{len(on_record)} cells on record already, not run again (`capsbench run {spelled('fresh')}` does)"]
    now = provenance()
    for key in ("capsbench", "commit", "torch", "cpu", "gpu"):
        others = sorted({str(record.provenance.get(key)) for record in on_record} - {str(now[key])})
        if others:
            lines.append(f"note: some of them were made with {key} {', '.join(others)}; here it is {now[key]}")
    return lines
