"""What a person sees of a run."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from capsbench.planning.matrix import cells_of
from capsbench.running.events import CellEnded, JobReported, Remarked, Resumed, RunStarted
from capsbench.running.progress import LiveProgress, PlainProgress, make_progress
from tests.making import make_record


def test_lines_name_what_differs_between_the_cells_of_the_run() -> None:
    cells = cells_of({"routing": "dynamic", "lr": "0.02,0.1", "seeds": 0, "device": "cpu", "baseline": "none"})
    printed = StringIO()
    progress = PlainProgress(Console(file=printed, width=200))
    progress.notify(RunStarted(tuple(cells), ()))
    for cell in cells:
        progress.notify(CellEnded(make_record(cell)))
    lines = [line.partition("]")[2].rpartition(":")[0].strip() for line in printed.getvalue().splitlines()]
    name = "capsnet dynamic x3 tiny, digits"
    assert lines == [f"{name}, seed 0", f"{name}, learning rate 0.1, seed 0"]


def test_a_terminal_has_bars_and_a_file_has_lines() -> None:
    assert type(make_progress(Console(force_terminal=True, force_jupyter=False))) is LiveProgress
    assert type(make_progress(Console(file=StringIO()))) is PlainProgress


def test_lines_name_the_cell_that_goes_on_or_cannot() -> None:
    cells = cells_of({"routing": "dynamic", "seeds": "0,1", "device": "cpu", "baseline": "none"})
    printed = StringIO()
    progress = PlainProgress(Console(file=printed, width=200))
    progress.notify(RunStarted(tuple(cells), ()))
    progress.notify(JobReported(cells[0], Resumed(7, 12)))
    progress.notify(JobReported(cells[1], Remarked("its checkpoint is damaged")))
    progress.notify(CellEnded(make_record(cells[0], seconds=12.0)))
    progress.notify(CellEnded(make_record(cells[1])))
    first, second, ended, found = printed.getvalue().splitlines()
    assert first.endswith("seed 0: goes on after epoch 7 of 12")
    assert second.endswith("seed 1: its checkpoint is damaged")
    assert ended.endswith("trained in 12 s")
    assert found.endswith("found on record")
