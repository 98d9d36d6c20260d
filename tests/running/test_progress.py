"""What a person sees of a run."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from capsbench.planning.matrix import cells_of
from capsbench.running.events import CellEnded, RunStarted
from capsbench.running.progress import PlainProgress
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
