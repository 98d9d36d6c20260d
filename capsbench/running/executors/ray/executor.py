"""Runs jobs as tasks of Ray, and brings back what they send."""

from __future__ import annotations

import os
import pickle
import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from capsbench import registry
from capsbench.errors import Kind, ProcessFailed, StorageFailed, UsageError, message_of
from capsbench.records.disk import write_file
from capsbench.running.events import Checkpointed, Remarked
from capsbench.running.executors.base import Job, Notify, Place, Settings, WorkerLost
from capsbench.running.executors.processes import END, SECONDS_BETWEEN_OFFERS
from capsbench.running.executors.ray.cluster import Cluster, find_fitting
from capsbench.running.executors.ray.parcel import Parcel, do_work, pack_work, read_files
from capsbench.running.executors.ray.task import INHERITED, Began, Supplies, Task, collect_left, run_task
from capsbench.sources import read_source

SECONDS_FOR_A_NODE = 60.0
"""The time that a job waits for a node for itself; then it shares one, and says so."""

SECONDS_TO_CLEAN = 15.0
"""The time that nodes have at the end: cancelled jobs write checkpoints, and folders are removed."""


class RayExecutor:
    """Tasks of Ray, one a job. Nodes need no disk that they share with this machine."""

    records_results = False

    def __init__(self, place: Place, settings: Settings) -> None:
        self.place, self.per_gpu = place, settings.per_gpu
        self.cluster = Cluster(settings.ray_address)
        self.token = secrets.token_hex(4)
        self.supplies: Supplies | None = None
        self.data: dict[str, Any] = {}
        """Path inside the folder of the data sets -> the object with the content."""
        self.used: set[str] = set()
        """The nodes that ran a job."""
        self.received: set[str] = set()
        """The paths of the files that came from nodes, inside the results folder."""
        self.cancelled: list[Any] = []
        """The messages of cancelled tasks: Ray interrupts a task only while somebody holds them."""
        self.remarks: set[str] = set()
        self.remote = ray.remote(run_task)

    def run(self, jobs: Iterable[Job | None], notify: Notify, *, alone: bool = False) -> Iterator[tuple[str, Any]]:
        """Runs each job, see `capsbench.running.executors.base.Executor`."""
        source, running, has_more = iter(jobs), dict[Any, _Running](), True
        try:
            while True:
                waits = False
                while has_more and not waits and len(running) < self._count_places(alone, running):
                    job = next(source, END)
                    has_more, waits = job is not END, job is None
                    if isinstance(job, Job):
                        started = self._start(job, alone, notify)
                        running[started.messages] = started
                if not running and not has_more:
                    return
                if not running:
                    time.sleep(SECONDS_BETWEEN_OFFERS)
                    continue
                ready, _ = ray.wait([*running], timeout=SECONDS_BETWEEN_OFFERS, fetch_local=False)
                for messages in ready:
                    for name, result in self._receive(running[messages], notify):
                        del running[messages]
                        yield name, result
                self._share_nodes(running, notify)
        finally:
            for messages in running:
                self.cancelled.append(messages)
                with suppress(RayError):
                    ray.cancel(messages)  # its process writes a checkpoint

    def close(self) -> None:
        """Takes over what cancelled jobs left on the nodes, removes their folders, and ends the Ray if it was started here."""
        try:
            if not ray.is_initialized():
                return
            alive = self.used & {node["NodeID"] for node in self.cluster.list_nodes()}
            tasks = [
                ray.remote(collect_left)
                .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
                .remote(self.token)
                for node in alive
            ]
            done, _ = ray.wait(tasks, num_returns=len(tasks), timeout=SECONDS_TO_CLEAN) if tasks else ([], [])
            for task in done:
                with suppress(RayError):  # the node was lost meanwhile
                    self._take_over_left(ray.get(task))
        finally:
            self.cluster.close()

    def _take_over_left(self, files: dict[str, bytes]) -> None:
        """Writes checkpoints that cancelled jobs left, but for those that are gone here: their trainings have ended."""
        for path, content in files.items():
            target = self.place.store.folder / path
            if path not in self.received or target.exists():
                write_file(target, content)

    def _count_places(self, alone: bool, running: dict[Any, _Running]) -> int:
        """Returns the number of jobs that may be submitted: twice as many as may run, so that a cluster sees that it may grow."""
        return 1 if alone or not self.cluster.is_connected else max(2, 2 * self.cluster.count_cores())

    def _start(self, job: Job, alone: bool, notify: Notify) -> _Running:
        if ":" in job.device:
            problem = "Ray chooses the GPU of a job"
            raise UsageError(Kind.CONFLICT, problem, flag="device", value=job.device, expected="use cuda")
        supplies = self._connect()
        data = {} if supplies.data_folder else {path: self._put_data(path) for path in job.data}
        reads = ray.put(read_files(self.place.store.folder, job.reads))
        light = replace(job, function=do_work, arguments=(), reads=(), data=())
        task = Task(pack_work(job), light, supplies, reads, data, alone)
        return _Running(job, task, self._submit(task, notify))

    def _connect(self) -> Supplies:
        """Connects to the Ray at the first job, and returns what all jobs need."""
        if self.supplies is None:
            self.cluster.connect()
            environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
            self.supplies = Supplies(self.token, registry.trusted_paths(), environment)
            if self.cluster.is_own:
                search = tuple(path or str(Path.cwd()) for path in sys.path)
                self.supplies = replace(self.supplies, data_folder=self.place.data_folder.absolute(), search=search)
            else:
                self.supplies = replace(self.supplies, code=ray.put(read_own_modules(self.supplies.trusted)))
        return self.supplies

    def _put_data(self, path: str) -> Any:
        if path not in self.data:
            self.data[path] = ray.put((self.place.data_folder / path).read_bytes())
        return self.data[path]

    def _submit(self, task: Task, notify: Notify) -> Any:
        """Submits a task, and returns the messages that it will send."""
        job, gpus = task.job, 0.0 if task.job.device == "cpu" else 1 / self.per_gpu
        nodes = self.cluster.list_nodes()
        fitting = find_fitting(nodes, job.threads, gpus)
        needs: dict[str, Any] = {"num_cpus": job.threads, "num_gpus": gpus}
        if self.cluster.is_own:
            # A cell may have more threads than there are cores, as it may in a process of this machine.
            needs["num_cpus"] = min(job.threads, nodes[0]["Resources"].get("CPU", 1))
            if gpus and not find_fitting(nodes, 0, gpus):
                raise UsageError(Kind.MISSING, "Ray finds no GPU here", flag="device", value=job.device)
        elif not fitting:
            place = f"a node with {job.threads} cores" + (" and a GPU" if gpus else "")
            self._say(f"Ray waits for {place}, since the cluster has none at the moment", job, notify)
        if task.alone and (fitting or self.cluster.is_own):
            chosen = (fitting or nodes)[0]
            needs["scheduling_strategy"] = NodeAffinitySchedulingStrategy(chosen["NodeID"], soft=False)
            if not task.shared:
                needs["num_cpus"] = chosen["Resources"].get("CPU", 1)
                needs["num_gpus"] = chosen["Resources"].get("GPU", 0) if gpus else 0
        return self.remote.options(num_returns="streaming", max_retries=0, **needs).remote(task)

    def _say(self, line: str, job: Job, notify: Notify) -> None:
        """Tells the user a line, once."""
        if line not in self.remarks:
            self.remarks.add(line)
            notify(job.name, Remarked(line))

    def _receive(self, running: _Running, notify: Notify) -> Iterator[tuple[str, Any]]:
        """Receives one message of a job; yields (name, result) if it is the last one."""
        name = running.job.name
        try:
            kind, content = ray.get(next(running.messages))
        except RayTaskError as error:
            cause = error.cause or error
            reason = f"{type(cause).__name__}: {message_of(cause, first_line=True)}"
            yield name, ProcessFailed(f"Ray could not run it: {reason}", str(error))
        except (RayError, StopIteration) as error:
            where = f" on {running.node.address}" if running.node else ""
            reason = message_of(error, first_line=True).partition(". ")[0] or type(error).__name__
            yield name, WorkerLost(f"the worker of Ray{where} was lost ({reason.rstrip('.')})")
        else:
            if kind == "began":
                running.node = content
                self.used.add(content.node)
            elif kind == "waits":
                notify(name, Remarked(content))
            elif kind == "event":
                self._receive_event(name, pickle.loads(content), notify)
            else:
                yield name, content if isinstance(content, Exception) else pickle.loads(content)

    def _receive_event(self, name: str, parcel: Parcel, notify: Notify) -> None:
        self.received |= parcel.files.keys()
        try:
            parcel.write_files(self.place.store.folder)
        except StorageFailed as error:
            if not isinstance(parcel.event, Checkpointed):
                raise
            # The training itself needs no checkpoint.
            notify(name, Remarked(f"an interruption now would lose epochs: {error}"))
        else:
            notify(name, parcel.event)

    def _share_nodes(self, running: dict[Any, _Running], notify: Notify) -> None:
        """Lets a job share a node if it has waited long enough for one for itself."""
        for messages, waiting in [*running.items()]:
            task = waiting.task
            has_waited = time.monotonic() - waiting.submitted >= SECONDS_FOR_A_NODE
            if task.alone and not task.shared and waiting.node is None and has_waited:
                ray.cancel(messages, force=True)
                del running[messages]
                self._say(
                    "no node of Ray is free for a measure of time, which shares one and is marked", waiting.job, notify
                )
                task = replace(task, shared=True)
                again = _Running(waiting.job, task, self._submit(task, notify))
                running[again.messages] = again


@dataclass
class _Running:
    """A job that was submitted.

    Attributes:
        messages: what its task yields.
        node: where it runs, once it has begun.
    """

    job: Job
    task: Task
    messages: Any
    node: Began | None = None
    submitted: float = field(default_factory=time.monotonic)


def read_own_modules(names: Iterable[str]) -> dict[str, bytes]:
    """Returns path -> content of the modules that a user's own components are imported with.

    Args:
        names: import paths, ``package.module:Attribute``.
    """
    modules: dict[str, Path] = {}
    for name in names:
        module, _, attribute = name.partition(":")
        source = read_source(module, attribute)
        modules |= {} if source is None else source.files
    return {
        "/".join(module.split(".")) + ("/__init__.py" if file.name == "__init__.py" else file.suffix): file.read_bytes()
        for module, file in modules.items()
    }
