"""Estimates the duration of a run on this machine, from a few timed training steps of each network."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from capsbench.data.base import data_folder, load_splits
from capsbench.data.images import Batch, Splits
from capsbench.errors import FOREIGN, UsageError
from capsbench.measures.build import make_measure
from capsbench.networks.build import build_network, parameter_count
from capsbench.planning.matrix import PlannedCell
from capsbench.records.cell import Cell
from capsbench.running.cell_job import configure_process, prepare_data
from capsbench.running.executors.base import Job, SendEvent
from capsbench.running.executors.local import choose_gpu, default_workers
from capsbench.running.executors.processes import in_processes, to_sendable
from capsbench.running.load_data import DataKey, data_key
from capsbench.training.loop import make_first_batch
from capsbench.training.step import TrainingStep

TIMED_STEPS = 3

PART_OF_BATCH = 8
"""The first two steps are of this part of a batch. If they take `ENOUGH_SECONDS`, a whole batch would not be more exact."""

ENOUGH_SECONDS = 0.25

SECONDS_OF_OVERHEAD = 3.0
"""Seconds a cell for measures that run alone and for starting processes."""

SECONDS_OF_TIMING = 10.0
"""By default, timing ends this long after the first step, whatever is timed by then."""

SECONDS_TO_START = 60.0
"""Timing ends if no process has taken its first step by then; before it, the process imports and loads what it needs."""

NETWORKS_A_PROCESS = 16
"""A process times networks one after the other; with more of them, it is quicker to start another one."""

OF_STEPS_ALIKE = {"seed": 0, "train_size": None, "epochs": 1, "patience": 0, "stop_at": 0.0} | {
    "learning_rate": 1.0,
    "schedule": "constant",
    "decay": 1.0,
    "decay_steps": 0,
}
"""Fields on which the time of a training step does not depend -> a value."""


class Timing(NamedTuple):
    """The steps of a network are being timed."""

    network: str


class Timed(NamedTuple):
    """The estimated seconds of the cells of a network, by the fastest step so far."""

    network: str
    seconds: Mapping[str, float]


class NotTimed(NamedTuple):
    """The steps of a network could not be timed."""

    network: str
    reason: str


@dataclass
class Estimate:
    """The estimated duration of a run.

    Attributes:
        seconds: the duration of the cells whose networks were timed.
        networks: the number of networks to time; cells with the same training step share one.
        timed: the number of networks of which a step was timed.
        failed: title of a cell -> why no step could be timed.
        seconds_of: identity of a cell -> its own duration in seconds; cells of networks without a timed step lack.
    """

    seconds: float = 0.0
    networks: int = 0
    timed: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    seconds_of: dict[str, float] = field(default_factory=dict)


def estimate_duration(
    planned: Sequence[PlannedCell],
    trained: Collection[str],
    data_dir: Path | None,
    clock: Callable[[], float] = time.monotonic,
    *,
    seconds: float = SECONDS_OF_TIMING,
) -> Estimate:
    """Estimates the duration of a run in bounded time.

    Networks whose weights are given are not trained, and so not timed unless a measure takes long.

    Args:
        planned: cells with their missing measures.
        trained: the identities of those that only have to be measured.
        clock: returns a time in seconds.
        seconds: the time for timing after the first step; what is not timed by then has no estimate.

    Raises:
        UsageError: a cell cannot be run at all, for lack of data for example.
    """
    alike: dict[tuple[str, tuple[str, ...], bool], list[PlannedCell]] = {}
    at_once = [job for job in planned if job.cell.is_given and not _count_measured(job)]
    for job in (job for job in planned if job not in at_once):
        # Cells that differ only in their seed take the same time.
        alike.setdefault((job.cell.contender, job.measures, job.cell.id in trained), []).append(job)
    groups = {cells[0].cell.id: cells for cells in alike.values()}
    networks: dict[str, list[PlannedCell]] = {}
    for cells in groups.values():
        networks.setdefault(f"{cells[0].device} {_identify_step(cells[0].cell)}", []).append(cells[0])
    # Small networks first, since more of them are timed in the given time.
    networks = dict(sorted(networks.items(), key=lambda item: parameter_count(item[1][0].cell)))
    queue = _Queue(networks, trained, data_folder(data_dir), default_workers(planned))
    ends = clock() + SECONDS_TO_START

    def receive_event(name: str, event: object) -> None:
        nonlocal ends
        if isinstance(event, Timed) and not queue.seconds_of:
            ends = clock() + seconds
        queue.note_event(name, event)

    # The plan has imported torch here. It may have started threads, after which those of a fork would wait forever.
    fork = {(job.device, job.cell.threads) for job in planned} == {("cpu", 1)}
    jobs = queue.offer_jobs()
    for name, result in in_processes(jobs, queue.processes, receive_event, lambda: ends - clock(), fork=fork):
        if isinstance(result, UsageError):
            raise result
        queue.note_end(name, result)
    timing = Estimate(networks=len(networks), timed=len(queue.seconds_of))
    timing.failed = {networks[name][0].cell.title: reason for name, reason in queue.failed.items()}
    timed = {cell: value for of_cells in queue.seconds_of.values() for cell, value in of_cells.items()}
    overhead = SECONDS_OF_OVERHEAD * (len(at_once) + sum(len(groups[cell]) for cell in timed))
    in_turn = sum(value * len(groups[cell]) for cell, value in timed.items())
    timing.seconds_of = {job.cell.id: SECONDS_OF_OVERHEAD for job in at_once}
    timing.seconds_of |= {
        job.cell.id: value + SECONDS_OF_OVERHEAD for cell, value in timed.items() for job in groups[cell]
    }
    timing.seconds = in_turn / default_workers(planned) + overhead
    return timing


def _identify_step(cell: Cell) -> str:
    """Returns an identity that cells share whose training steps take the same time."""
    batch_size = min(cell.batch_size, cell.train_size or cell.batch_size)
    return cell.model_copy(update={**OF_STEPS_ALIKE, "batch_size": batch_size}).id


class _Queue:
    """The networks to time: each process takes some of them in turn, and another takes those that a dead one left."""

    def __init__(
        self, networks: Mapping[str, list[PlannedCell]], trained: Collection[str], folder: Path, workers: int
    ) -> None:
        self.networks = networks
        self.arguments = frozenset(trained), folder
        self.processes = max(1, min(workers, math.ceil(len(networks) / NETWORKS_A_PROCESS)))
        by_device: dict[str, list[str]] = {}
        for name, (first, *_) in networks.items():
            by_device.setdefault(first.device, []).append(name)
        parts = (names[place :: self.processes] for names in by_device.values() for place in range(self.processes))
        self.waiting = deque(part for part in parts if part)
        self.left: dict[str, list[str]] = {}
        """Name of a running job -> the networks that it has not timed yet, the one at hand first."""
        self.seconds_of: dict[str, Mapping[str, float]] = {}
        self.failed: dict[str, str] = {}

    def offer_jobs(self) -> Iterator[Job | None]:
        while self.waiting or self.left:
            if not self.waiting:
                yield None
                continue
            names = self.waiting.popleft()
            cells = {name: self.networks[name] for name in names}
            self.left[names[0]] = names
            environment = choose_gpu(cells[names[0]][0].device)
            yield Job(names[0], time_networks, (cells, *self.arguments), environment=environment)

    def note_event(self, job: str, event: object) -> None:
        match event:
            case Timing(network):
                names = self.left[job]
                self.left[job] = names[names.index(network) :]
            case Timed(network, seconds):
                self.seconds_of[network] = seconds
            case NotTimed(network, reason):
                self.note_failure(network, reason)

    def note_end(self, job: str, result: object) -> None:
        names = self.left.pop(job)
        if isinstance(result, Exception):
            self.note_failure(names[0], str(result))
            if len(names) > 1:
                self.waiting.append(names[1:])

    def note_failure(self, network: str, reason: str) -> None:
        self.failed[network] = reason
        self.seconds_of.pop(network, None)


def time_networks(
    networks: Mapping[str, list[PlannedCell]], trained: Collection[str], folder: Path, send: SendEvent
) -> None:
    """Times a few training steps of each of some networks, and sends after each the seconds that its cells would take."""
    loaded: dict[DataKey, Splits] = {}
    for name, jobs in networks.items():
        send(Timing(name))
        try:
            for seconds in _time_network(jobs, trained, folder, loaded):
                send(Timed(name, seconds))
        except UsageError:
            raise
        except FOREIGN as error:
            send(NotTimed(name, str(to_sendable(error))))


def _time_network(
    jobs: Sequence[PlannedCell], trained: Collection[str], folder: Path, loaded: dict[DataKey, Splits]
) -> Iterator[dict[str, float]]:
    """Yields after each step of a network the seconds that its cells take, by their identities."""
    cell = jobs[0].cell
    configure_process(cell)
    if (key := data_key(cell)) not in loaded:
        loaded[key] = load_splits(cell.dataset, folder, options=cell.component_options("dataset"))
    images = {job.cell.id: _count_images(job, job.cell.id in trained, loaded[key]) for job in jobs}
    for seconds in _time_steps(cell, prepare_data(cell, loaded[key])):
        yield {cell_id: seconds * count for cell_id, count in images.items()}


def _count_images(planned: PlannedCell, is_trained: bool, data: Splits) -> float:
    """Returns the images that a cell is trained and measured on, in images of a training step."""
    cell = planned.cell
    trained_on, validated, tested = (len(part.labels) for part in (data.train, data.validation, data.test))
    trained_on = cell.train_size or trained_on
    # A forward pass of an image costs about a third of a training step of it.
    epoch = trained_on + min(validated, trained_on) / 3
    training = 0 if is_trained else cell.epochs * epoch + (validated + tested) / 3
    return training + _count_measured(planned)


def _count_measured(planned: PlannedCell) -> int:
    """Returns the cost of the measures of a cell, in images of a training step."""
    return sum(measure.cost.get(measure.setting, 0) for measure in map(make_measure, planned.measures))


def _time_steps(cell: Cell, data: Splits) -> Iterator[float]:
    """Yields after each training step the seconds an image of the fastest so far."""
    network = build_network(cell)
    step, batch = TrainingStep(cell, network), make_first_batch(cell, network, data)
    count = len(batch.labels)
    # torch.compile would compile the step for each size of a batch.
    if cell.compile == "none" and count >= 2 * PART_OF_BATCH:
        part = make_first_batch(cell, network, data, count // PART_OF_BATCH)
        fastest = float("inf")
        for _ in range(2):  # the first one may compile kernels
            fastest = min(fastest, _time_step(step, part))
            yield fastest / len(part.labels)
        if fastest >= ENOUGH_SECONDS:
            return
    fastest = float("inf")
    for _ in range(TIMED_STEPS):
        fastest = min(fastest, _time_step(step, batch))
        yield fastest / count


def _time_step(step: TrainingStep, batch: Batch) -> float:
    began = time.perf_counter()
    step(batch, 0.0)
    return time.perf_counter() - began
