"""How long cells would take here, from a few timed training steps of each network."""

from __future__ import annotations

import math
import time
from pathlib import Path

from capsbench.cell import Cell
from capsbench.data.base import data_folder
from capsbench.experiment import prepare
from capsbench.models.build import build_network
from capsbench.process import SendEvent, in_process
from capsbench.runner import default_workers
from capsbench.training import TrainingStep, first_batch

TIMED_STEPS = 3
SECONDS_BESIDE_TRAINING = 4.0
"""Measuring alone and starting processes, a cell."""


def estimate(cells: list[Cell], data_dir: Path | None) -> float:
    """Seconds that a run of the cells would take."""
    folder = data_folder(data_dir)
    seconds_of: dict[str, float] = {}
    training = 0.0
    for cell in cells:
        # Cells that differ in their seed alone take the same time.
        alike = cell.model_copy(update={"seed": 0}).id
        if alike not in seconds_of:
            seconds_of[alike] = in_process(training_seconds, cell, folder)
        training += seconds_of[alike]
    return training / default_workers(cells) + SECONDS_BESIDE_TRAINING * len(cells)


def training_seconds(cell: Cell, folder: Path, send: SendEvent) -> float:
    """Seconds of the cell's training if every step takes what the quickest of a few takes."""
    data = prepare(cell, folder)
    network = build_network(cell)
    step, batch = TrainingStep(cell, network), first_batch(cell, network, data)
    times = []
    for _ in range(TIMED_STEPS):
        began = time.perf_counter()
        step(batch, 0.0)
        times.append(time.perf_counter() - began)
    steps = math.ceil(len(data.train.labels) / cell.batch_size)
    # A validation image costs about a third of a training image: a forward pass without the backward one.
    validation = len(data.validation.labels) / len(data.train.labels) / 3
    return min(times) * steps * cell.epochs * (1 + validation)
