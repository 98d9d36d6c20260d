"""How long cells would take here, from a few timed training steps of each network and what its measures cost beside it."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path

from capsbench.data.base import data_folder
from capsbench.measures.build import make_measure
from capsbench.networks.build import build_network
from capsbench.planning.matrix import PlannedCell
from capsbench.running.cell_job import prepare
from capsbench.running.executors.local import SendEvent, in_process
from capsbench.running.runner import default_workers
from capsbench.training.loop import first_batch
from capsbench.training.step import TrainingStep

TIMED_STEPS = 3
SECONDS_BESIDE = 3.0
"""Measuring alone and starting processes, a cell."""


def estimate(planned: Sequence[PlannedCell], trained: Collection[str], data_dir: Path | None) -> float:
    """Seconds that a run of some cells would take.

    Args:
        planned: cells with the measures that are still missing.
        trained: the identities of those that only have to be measured.
    """
    folder = data_folder(data_dir)
    seconds_of: dict[tuple[str, tuple[str, ...], bool], float] = {}
    seconds = 0.0
    for each in planned:
        # Cells that differ in their seed alone take the same time.
        alike = (each.cell.contender, each.measures, each.cell.id in trained)
        if alike not in seconds_of:
            seconds_of[alike] = in_process(cell_seconds, each, each.cell.id in trained, folder)
        seconds += seconds_of[alike]
    return seconds / default_workers(planned) + SECONDS_BESIDE * len(planned)


def cell_seconds(planned: PlannedCell, trained: bool, folder: Path, send: SendEvent) -> float:
    """Seconds of the cell's training and measures if every step takes what the quickest of a few takes."""
    data, cell = prepare(planned, folder), planned.cell
    network = build_network(cell)
    step, batch = TrainingStep(cell, network), first_batch(cell, network, data)
    times = []
    for _ in range(TIMED_STEPS):
        began = time.perf_counter()
        step(batch, 0.0)
        times.append(time.perf_counter() - began)
    trained_on, validated, tested = (len(part.labels) for part in (data.train, data.validation, data.test))
    # An image that is passed forward alone costs about a third of a training image.
    epoch = trained_on + min(validated, trained_on) / 3
    training = 0 if trained else cell.epochs * epoch + (validated + tested) / 3
    measures = sum(measure.cost.get(measure.setting, 0) for measure in map(make_measure, planned.measures))
    return min(times) / len(batch.labels) * (training + measures)
