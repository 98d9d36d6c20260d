"""The events of a run, as its trackers receive them: one cell, trained for two epochs and measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from capsbench.records.cell import Cell
from capsbench.records.record import Artifact, Record, Row
from capsbench.running.events import CellEnded, JobEvent, JobReported, Measured, Measuring, RunStarted, Trained
from capsbench.training.loop import EpochEnded, Progress
from tests.making import make_capsules, make_failed, make_record

CELL = make_capsules()
TITLE = "matrix-capsules em x3 tiny, digits, seed 0"
HISTORY = [
    {"epoch": 1, "loss": 0.75, "validation_accuracy": 0.5, "learning_rate": 0.002, "seconds": 1.0},
    {"epoch": 2, "loss": 0.25, "validation_accuracy": 0.875, "learning_rate": 0.001, "seconds": 2.0},
]
PARAMETERS = Row("training", "parameters", "network", 28_000.0, "parameters")
ACCURACY = Row("accuracy", "accuracy", "test", 0.8125, "fraction")
ROTATED = Row("affine", "R^2", "Linf, rotation", 0.5, "fraction", 30.0)
LATENCY = Row("speed", "latency p50", "inference", 2.5, "ms")


def start(*cells: Cell) -> list[Any]:
    return [RunStarted(cells or (CELL,), ())]


def report(*events: JobEvent, cell: Cell = CELL) -> list[Any]:
    return [JobReported(cell, event) for event in events]


def train(history: Iterable[dict[str, float]] = HISTORY, cell: Cell = CELL) -> list[Any]:
    """The events of a training that sends these epochs."""
    epochs = [
        event for entry in history for event in (EpochEnded(entry), Progress(0.5, int(entry["epoch"]), 2, 0, None))
    ]
    weights = Artifact("weights/0123.safetensors")
    return report(*epochs, Trained(HISTORY, [PARAMETERS], ["cpu"], {}, weights, "2026-01-01", 2.0), cell=cell)


def measure(spec: str, *rows: Row, cell: Cell = CELL) -> list[Any]:
    return report(Measuring(spec), Measured(spec, [*rows], 1.0, 1, None, None), cell=cell)


def end(*rows: Row, cell: Cell = CELL, failures: dict[str, str] | None = None, wanted: Iterable[str] = ()) -> list[Any]:
    """The end of a cell's job, with the record of what it measured."""
    return [CellEnded(make_record(cell, rows, history=HISTORY, failures=failures, wanted=wanted))]


def fail(reason: str, cell: Cell = CELL) -> list[Any]:
    """The end of a job whose training failed."""
    return [CellEnded(make_failed(cell, reason))]


def outdate(record: Record, reason: str) -> list[Any]:
    """The end of a job whose training failed, while an earlier one is on record."""
    return [CellEnded(replace(record, failures=make_failed(record.cell, reason).failures))]


def notify_all(listener: Any, *parts: Iterable[Any]) -> None:
    for part in parts:
        for event in part:
            listener.notify(event)
