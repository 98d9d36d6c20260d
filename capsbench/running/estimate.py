"""How long cells would take here, from a few timed training steps of each network and what its measures cost beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from capsbench.data.base import data_folder
from capsbench.errors import UsageError
from capsbench.measures.build import make_measure
from capsbench.networks.build import build_network, parameter_count
from capsbench.planning.matrix import PlannedCell
from capsbench.running.cell_job import prepare
from capsbench.running.executors.local import Job, SendEvent, in_processes
from capsbench.running.runner import default_workers
from capsbench.training.loop import make_first_batch
from capsbench.training.step import TrainingStep

TIMED_STEPS = 3
SECONDS_BESIDE = 3.0
"""Measuring alone and starting processes, a cell."""

SECONDS_OF_TIMING = 10.0
"""Timing ends this long after the first process is up, whatever is timed by then."""

SECONDS_TO_START = 60.0
"""A first process that is not up by then counts as up."""

UP = "up"
"""The event of a process that is up; those after it are what the cell would take, in seconds, by its quickest step so far."""


@dataclass
class Estimate:
    """How long a run would take.

    Attributes:
        seconds: of the cells whose networks were timed.
        networks: how many networks there are to time; cells that differ in their seed alone have one.
        timed: of how many a step was timed.
        failed: title of a cell -> why no step could be timed.
    """

    seconds: float = 0.0
    networks: int = 0
    timed: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def estimate(
    planned: Sequence[PlannedCell],
    trained: Collection[str],
    data_dir: Path | None,
    clock: Callable[[], float] = time.monotonic,
) -> Estimate:
    """What a run of some cells would take, timed in bounded time: `SECONDS_OF_TIMING` after the first process is up.

    Args:
        planned: cells with the measures that are still missing.
        trained: the identities of those that only have to be measured.
        clock: seconds.

    Raises:
        UsageError: a cell cannot be run at all, for want of data for example.
    """
    folder = data_folder(data_dir)
    alike: dict[tuple[str, tuple[str, ...], bool], list[PlannedCell]] = {}
    for each in planned:
        # Cells that differ in their seed alone take the same time.
        alike.setdefault((each.cell.contender, each.measures, each.cell.id in trained), []).append(each)
    # The small ones first: of those more are timed before the time is over.
    in_order = sorted(alike.values(), key=lambda cells: parameter_count(cells[0].cell))
    groups = {cells[0].cell.id: cells for cells in in_order}
    jobs = [Job(name, time_cell, (cells[0], cells[0].cell.id in trained, folder)) for name, cells in groups.items()]
    ends = clock() + SECONDS_TO_START + SECONDS_OF_TIMING
    seconds_of: dict[str, float] = {}

    def receive(name: str, event: float | str) -> None:
        nonlocal ends
        if event == UP:
            ends = min(ends, clock() + SECONDS_OF_TIMING)
        else:
            seconds_of[name] = float(event)

    made = Estimate(networks=len(groups))
    for name, result in in_processes(jobs, default_workers(planned), receive, lambda: ends - clock()):
        if isinstance(result, UsageError):
            raise result
        if isinstance(result, Exception):
            made.failed[groups[name][0].cell.title] = str(result)
            seconds_of.pop(name, None)
    made.timed = len(seconds_of)
    beside = SECONDS_BESIDE * sum(len(groups[name]) for name in seconds_of)
    in_turn = sum(seconds * len(groups[name]) for name, seconds in seconds_of.items())
    made.seconds = in_turn / default_workers(planned) + beside
    return made


def time_cell(planned: PlannedCell, trained: bool, folder: Path, send: SendEvent) -> None:
    """Times a few training steps, and sends after each what training and measuring the cell would take, in seconds."""
    send(UP)
    (data, _), cell = prepare(planned, folder), planned.cell
    network = build_network(cell)
    step, batch = TrainingStep(cell, network), make_first_batch(cell, network, data)
    trained_on, validated, tested = (len(part.labels) for part in (data.train, data.validation, data.test))
    # An image that is passed forward alone costs about a third of a training image.
    epoch = trained_on + min(validated, trained_on) / 3
    training = 0 if trained else cell.epochs * epoch + (validated + tested) / 3
    measures = sum(measure.cost.get(measure.setting, 0) for measure in map(make_measure, planned.measures))
    quickest = float("inf")
    for _ in range(TIMED_STEPS):
        began = time.perf_counter()
        step(batch, 0.0)
        quickest = min(quickest, time.perf_counter() - began)
        send(quickest / len(batch.labels) * (training + measures))
