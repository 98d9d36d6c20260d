"""Runs the jobs of a run on this machine, each in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from capsbench.errors import Kind, UsageError
from capsbench.planning.defaults import usable_cores
from capsbench.planning.matrix import PlannedCell
from capsbench.running.events import Remarked
from capsbench.running.executors.base import TO_USER, Job, Notify, Place, Settings
from capsbench.running.executors.machine import claim_machine, explain_wait, share_machine
from capsbench.running.executors.processes import in_processes

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The environment variable that chooses the GPUs of a process."""


class LocalExecutor:
    """Processes of this machine, at most ``workers`` at a time. Each sees one GPU, the one with the fewest jobs."""

    records_results = False

    def __init__(self, place: Place, settings: Settings) -> None:
        self.place = place
        self.workers = settings.workers
        self.seconds_left: Callable[[], float | None] = lambda: None
        """Returns the time that is left for all jobs; at its end those that run are stopped, and write their checkpoints."""
        self.gpu_of: dict[str, str] = {}
        """Name of a running job -> its GPU; empty on the CPU."""

    def run(self, jobs: Iterable[Job | None], notify: Notify, *, alone: bool = False) -> Iterator[tuple[str, Any]]:
        """Runs each job, see `capsbench.running.executors.base.Executor`."""
        if (line := explain_wait(alone)) is not None:
            notify(TO_USER, Remarked(line))
        with claim_machine() if alone else share_machine() as is_alone:
            place = replace(self.place, shared=self.place.shared or not is_alone)
            at_place = (None if job is None else self._prepare(job, place) for job in jobs)
            for name, result in in_processes(at_place, 1 if alone else self.workers, notify, self.seconds_left):
                self.gpu_of.pop(name, None)
                yield name, result

    def close(self) -> None:
        """Does nothing: each process ends with its job."""

    def _prepare(self, job: Job, place: Place) -> Job:
        environment = choose_gpu(job.device, [*self.gpu_of.values()])
        self.gpu_of[job.name] = environment.get(VISIBLE, "")
        return replace(job, arguments=(*job.arguments, place), environment=environment)


def choose_gpu(device: str, used: Sequence[str] = ()) -> dict[str, str]:
    """Returns the environment of a process for ``cuda:1``, or for ``cuda``: the GPU that is used least. Empty for the CPU.

    Args:
        used: the GPUs of the jobs that run, each as often as it has jobs.

    Raises:
        UsageError: there is no such GPU.
    """
    if device == "cpu":
        return {}
    gpus, (_, _, number) = list_gpus(), device.partition(":")
    if int(number or 0) >= len(gpus):
        problem = f"torch sees {len(gpus)} GPUs here"
        raise UsageError(Kind.MISSING, problem, flag="device", value=device)
    return {VISIBLE: gpus[int(number)] if number else min(gpus, key=[*used].count)}


def list_gpus() -> list[str]:
    """Returns the GPUs that this process may use, named as in `VISIBLE`."""
    visible = os.environ.get(VISIBLE)
    return [*map(str, range(torch.cuda.device_count()))] if visible is None else [*filter(None, visible.split(","))]


def default_workers(planned: Sequence[PlannedCell], per_gpu: int = 1) -> int:
    """Returns the number of networks that fill the cores of this machine, or its GPUs."""
    devices = {job.device for job in planned}
    if not devices - {"cpu"}:
        return max(1, usable_cores() // max((job.cell.threads for job in planned), default=1))
    gpus = len(list_gpus()) if "cuda" in devices else len(devices - {"cpu"})
    return max(1, gpus * per_gpu)
