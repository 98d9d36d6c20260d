"""Runs that train nothing: a test chooses the validation performance of each cell, and when it stops improving."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from capsbench.planning.matrix import PlannedCell
from capsbench.records.cell import Cell
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.running.outcome import Outcome
from tests.making import make_failed, make_record

Performance = Callable[[Cell], float]


def make_history(epochs: int, accuracy: float, *, is_improving: bool) -> list[dict[str, float]]:
    """A training at a constant rate with this accuracy at its end: its error falls as a power law, or has long been flat."""
    end = 1 - accuracy
    errors = [
        end * (epochs / epoch) ** 0.5 if is_improving else end * (1 + epoch % 2 / 10) for epoch in range(1, epochs)
    ]
    return [
        {"epoch": number, "loss": 0.1, "validation_accuracy": 1 - min(error, 0.9), "learning_rate": 0.01}
        for number, error in enumerate([*errors, end], start=1)
    ]


class FakeRuns:
    """Runs cells by writing records.

    Args:
        performance: cell -> its validation accuracy; nan if it fails.
        most: the cells that a run finishes; by default all.
        enough: cell -> the epochs from which on it is no longer improving.
    """

    def __init__(
        self, performance: Performance, most: int | None = None, enough: Callable[[Cell], int] = lambda cell: 0
    ) -> None:
        self.performance = performance
        self.most = most
        self.enough = enough
        self.trained: list[Cell] = []
        self.calls: list[list[PlannedCell]] = []
        self.remarks: list[str] = []

    def __call__(self, planned: Sequence[PlannedCell], store: Store, remarks: Sequence[str]) -> Outcome:
        outcome = Outcome()
        self.calls.append([*planned])
        self.remarks += remarks
        for job in planned:
            if store.has(job.cell):
                outcome.on_record.append(job.cell.id)
            elif self.most is not None and len(self.trained) >= self.most:
                outcome.left.append(job.cell.id)
            else:
                store.write(self.make_record(job))
                self.trained.append(job.cell)
                outcome.finished.append(job.cell.id)
        return outcome

    def make_record(self, job: PlannedCell) -> Record:
        accuracy, cell = self.performance(job.cell), job.cell
        searches = {"tuning": job.tuning, "convergence": job.convergence}
        if math.isnan(accuracy):
            return make_failed(cell, role=job.role, **searches)
        rows = [Row("accuracy", "accuracy", "test", accuracy, "fraction")] if job.measures else []
        history = make_history(cell.epochs, accuracy, is_improving=cell.epochs < self.enough(cell))
        return make_record(cell, rows, history=history, role=job.role, request=dict(job.request), **searches)
