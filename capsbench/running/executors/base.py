"""The interface between the run and the machines that its jobs run on: `Job`, `Place`, `Settings` and `Executor`.

A job neither knows nor asks where it runs. An executor gives it a place, carries its events back, and knows nothing of its work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from capsbench.errors import ProcessFailed
from capsbench.records.store import Store

SendEvent = Callable[[Any], None]
"""Sends an event from a job to the run; the event must be picklable."""

Notify = Callable[[str, Any], None]
"""Receives the name of a job and an event that it sent; or `TO_USER` and a line of the executor, `Remarked`."""

TO_USER = ""
"""Stands for the name of a job where the executor itself has a line for the user."""


@dataclass(frozen=True)
class Place:
    """Where a job finds its files: the results folder and the folder of the data sets.

    Attributes:
        shared: other jobs may run on the machine meanwhile.
    """

    store: Store
    data_folder: Path
    shared: bool = False


@dataclass(frozen=True)
class Job:
    """A call ``function(*arguments, send_event)`` with a name; an executor adds the place before ``send_event``.

    Attributes:
        function: importable by name, since it may run on another machine.
        threads: the cores that it uses.
        device: ``cpu``, ``cuda`` for any GPU, or ``cuda:1``.
        reads: the files that it may read, as paths inside the results folder; some may not exist.
        data: the files that it may read, as paths inside the folder of the data sets.
        time_limit: in seconds.
        environment: further environment variables of its process.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    threads: int = 1
    device: str = "cpu"
    reads: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    time_limit: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """How the jobs of a run are carried out; nothing here changes a number but times.

    Attributes:
        workers: jobs at a time on a machine.
        per_gpu: jobs at a time on a GPU.
        slurm: options of `capsbench.running.executors.slurm` by name, as the user typed them.
        cells_per_job: jobs that one array task of Slurm runs, one after the other.
        detach: submit jobs to Slurm without waiting for them.
        ray_address: the address of a Ray cluster, HOST:PORT or ``auto``; None starts a Ray on this machine.
    """

    workers: int = 1
    per_gpu: int = 1
    slurm: Mapping[str, str] = field(default_factory=dict)
    cells_per_job: int = 1
    detach: bool = False
    ray_address: str | None = None


MOST_LOSSES = 2
"""The times that a job is run again after the machine or the worker that it ran on was lost."""


class WorkerLost(ProcessFailed):
    """The result of a job whose worker was lost through no fault of the job: its caller may offer it again."""


class FailureOnRecord(ProcessFailed):
    """Raised by a job that recorded the failure of its work itself."""


class Detached(Exception):
    """Raised by `Executor.run` if its jobs go on without this process; ``jobs`` is their number."""

    def __init__(self, jobs: int) -> None:
        super().__init__(jobs)
        self.jobs = jobs


class Executor(Protocol):
    """Runs jobs on machines: one module each, with a class that takes a `Place` and `Settings`.

    Attributes:
        records_results: True if its jobs write their records themselves, into the same folder (`capsbench.running.shares`).
            Their results are then None or an exception, and the only events are lines for the user, from the executor.
    """

    records_results: bool

    def run(self, jobs: Iterable[Job | None], notify: Notify, *, alone: bool = False) -> Iterator[tuple[str, Any]]:
        """Runs each job once and yields (name, result) as jobs end; closing the iterator stops the jobs that run.

        The result of a failed job is an exception: the UsageError, TrainingFailed or StorageFailed that it raised, else
        ProcessFailed, or WorkerLost if it may be run again. A job is taken from ``jobs`` when there is room for it; None means
        that there is none at the moment.

        Args:
            alone: run one job after the other, each with a machine for itself as far as possible (`Place.shared`).

        Raises:
            Detached: the jobs go on without this process, see `Settings`.
        """
        ...

    def close(self) -> None:
        """Ends what the executor started, once no job runs any more."""
        ...
