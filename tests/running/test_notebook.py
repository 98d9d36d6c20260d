"""What a notebook shows of a run."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from capsbench.planning.matrix import cells_of
from capsbench.running.events import CellEnded, JobReported, Remarked, RunStarted
from capsbench.running.notebook import MOST_LINES
from capsbench.running.progress import make_progress
from capsbench.training.loop import Progress
from tests.making import make_failed, make_record


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What IPython would show: for each display a list of its texts, one an update."""
    displays: list[list[str]] = []

    def display(shown: Any, **options: Any) -> Any:
        texts: list[str] = []
        displays.append(texts)

        def update(shown: Any) -> None:
            texts.append(shown._repr_mimebundle_((), ())["text/plain"])

        update(shown)
        return SimpleNamespace(update=update)

    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return displays


def test_bars_move_and_a_line_on_what_is_done_replaces_them(outputs: list[list[str]]) -> None:
    cells = cells_of({"routing": "dynamic", "seeds": [0, 1], "device": "cpu", "baseline": "none"})
    with make_progress(Console(force_jupyter=True)) as progress:
        progress.notify(RunStarted(tuple(cells), ()))
        progress.updated_at = 0.0
        progress.notify(JobReported(cells[0], Progress(0.5, 3, 6, 0.25, None)))
        (texts,) = outputs
        assert "epoch 3 of 6, loss 0.25" in texts[-1]
        progress.notify(CellEnded(make_record(cells[0])))
        assert "[1/2]" in texts[-1]
    (texts,) = outputs  # one display holds everything
    first, last = texts[-1].splitlines()
    assert first.startswith("[1/2]")
    assert last == "1 of 2 cells done"


def test_steps_of_a_training_are_not_sent_one_by_one(outputs: list[list[str]]) -> None:
    cells = cells_of({"routing": "dynamic", "seeds": 0, "device": "cpu", "baseline": "none"})
    with make_progress(Console(force_jupyter=True)) as progress:
        progress.notify(RunStarted(tuple(cells), ()))
        progress.updated_at = float("inf")
        before = len(outputs[0])
        for step in range(100):
            progress.notify(JobReported(cells[0], Progress(step / 100, 1, 1, 0.25, None)))
        assert len(outputs[0]) == before


def test_of_many_lines_the_failures_and_the_latest_stay(outputs: list[list[str]]) -> None:
    cells = cells_of({"routing": "dynamic", "seeds": range(30), "device": "cpu", "baseline": "none"})
    with make_progress(Console(force_jupyter=True)) as progress:
        progress.notify(RunStarted(tuple(cells), ()))
        progress.notify(Remarked("a remark"))
        progress.notify(CellEnded(make_failed(cells[0], "out of memory")))
        for cell in cells[1:]:
            progress.notify(CellEnded(make_record(cell)))
    head, *lines, last = outputs[0][-1].splitlines()
    assert len(lines) == MOST_LINES
    assert str(31 - MOST_LINES) in head
    assert "out of memory" in lines[0]
    assert lines[-1].startswith("[30/30]")
    assert last == "30 of 30 cells done"
