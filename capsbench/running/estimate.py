"""Estimates the duration of a run on this machine, from a few timed training steps of each network."""

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
from capsbench.running.cell_job import prepare_process
from capsbench.running.executors.local import Job, SendEvent, in_processes
from capsbench.running.runner import default_workers
from capsbench.training.loop import make_first_batch
from capsbench.training.step import TrainingStep

TIMED_STEPS = 3
SECONDS_OF_OVERHEAD = 3.0
"""Seconds a cell for measures that run alone and for starting processes."""

SECONDS_OF_TIMING = 10.0
"""Timing ends this long after the first process has started, whatever is timed by then."""

SECONDS_TO_START = 60.0
"""A first process that has not started by then counts as started."""

STARTED = "started"
"""The first event of a process; later ones are the estimated seconds of the cell, by its fastest step so far."""


@dataclass
class Estimate:
    """The estimated duration of a run.

    Attributes:
        seconds: the duration of the cells whose networks were timed.
        networks: the number of networks to time; cells that differ only in their seed share one.
        timed: the number of networks of which a step was timed.
        failed: title of a cell -> why no step could be timed.
    """

    seconds: float = 0.0
    networks: int = 0
    timed: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def estimate_duration(
    planned: Sequence[PlannedCell],
    trained: Collection[str],
    data_dir: Path | None,
    clock: Callable[[], float] = time.monotonic,
) -> Estimate:
    """Estimates the duration of a run in bounded time: `SECONDS_OF_TIMING` after the first process has started.

    Args:
        planned: cells with their missing measures.
        trained: the identities of those that only have to be measured.
        clock: returns a time in seconds.

    Raises:
        UsageError: a cell cannot be run at all, for lack of data for example.
    """
    folder = data_folder(data_dir)
    alike: dict[tuple[str, tuple[str, ...], bool], list[PlannedCell]] = {}
    for job in planned:
        # Cells that differ only in their seed take the same time.
        alike.setdefault((job.cell.contender, job.measures, job.cell.id in trained), []).append(job)
    # Small networks first, since more of them are timed in the given time.
    in_order = sorted(alike.values(), key=lambda cells: parameter_count(cells[0].cell))
    groups = {cells[0].cell.id: cells for cells in in_order}
    jobs = [Job(name, time_cell, (cells[0], cells[0].cell.id in trained, folder)) for name, cells in groups.items()]
    ends = clock() + SECONDS_TO_START + SECONDS_OF_TIMING
    seconds_of: dict[str, float] = {}

    def receive_event(name: str, event: float | str) -> None:
        nonlocal ends
        if event == STARTED:
            ends = min(ends, clock() + SECONDS_OF_TIMING)
        else:
            seconds_of[name] = float(event)

    timing = Estimate(networks=len(groups))
    for name, result in in_processes(jobs, default_workers(planned), receive_event, lambda: ends - clock()):
        if isinstance(result, UsageError):
            raise result
        if isinstance(result, Exception):
            timing.failed[groups[name][0].cell.title] = str(result)
            seconds_of.pop(name, None)
    timing.timed = len(seconds_of)
    overhead = SECONDS_OF_OVERHEAD * sum(len(groups[name]) for name in seconds_of)
    in_turn = sum(seconds * len(groups[name]) for name, seconds in seconds_of.items())
    timing.seconds = in_turn / default_workers(planned) + overhead
    return timing


def time_cell(planned: PlannedCell, trained: bool, folder: Path, send: SendEvent) -> None:
    """Times a few training steps, and sends after each the seconds that training and measuring the cell would take."""
    send(STARTED)
    (data, _), cell = prepare_process(planned, folder), planned.cell
    network = build_network(cell)
    step, batch = TrainingStep(cell, network), make_first_batch(cell, network, data)
    trained_on, validated, tested = (len(part.labels) for part in (data.train, data.validation, data.test))
    # A forward pass of an image costs about a third of a training step of it.
    epoch = trained_on + min(validated, trained_on) / 3
    training = 0 if trained else cell.epochs * epoch + (validated + tested) / 3
    measures = sum(measure.cost.get(measure.setting, 0) for measure in map(make_measure, planned.measures))
    fastest = float("inf")
    for _ in range(TIMED_STEPS):
        began = time.perf_counter()
        step(batch, 0.0)
        fastest = min(fastest, time.perf_counter() - began)
        send(fastest / len(batch.labels) * (training + measures))
