"""The work of a Ray task, on the node that Ray chose: it runs one job in a process of its own, and yields what the job sends.

A Ray worker takes one task after the other. It has a server of processes (`capsbench.running.executors.processes`), which
imports everything once, so that each further job starts at once.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import ray

from capsbench import registry
from capsbench.records.sharing.process import NODE
from capsbench.records.store import Store
from capsbench.running.executors.base import Job, Place
from capsbench.running.executors.machine import claim_machine, explain_wait, share_machine
from capsbench.running.executors.parent import SECONDS_TO_STOP
from capsbench.running.executors.processes import stream_messages
from capsbench.running.executors.ray.node import NodeFolder
from capsbench.running.executors.ray.parcel import do_work

CHECKPOINTS = "checkpoints/*.safetensors"
"""The files of a job that are of use although it was cancelled."""

VISIBLE = "CUDA_VISIBLE_DEVICES"

INHERITED = ("GOMP_SPINCOUNT", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Environment variables that a job has as the command has them: Ray and its nodes may have set others."""


@dataclass(frozen=True)
class Supplies:
    """What the jobs of a run need on each node; an empty one for the machine of the command, where everything lies.

    Attributes:
        run: a name that no other run has.
        trusted: the import paths of a user's own components.
        environment: the values of `INHERITED`; those that it lacks are not set.
        data_folder: the folder of the data sets if it is on this machine.
        code: the object with path -> content of the modules of the user's own components.
        search: the folders in which Python finds modules, if they are on this machine.
    """

    run: str
    trusted: frozenset[str]
    environment: Mapping[str, str]
    data_folder: Path | None = None
    code: Any = None
    search: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """A job as it is sent to a node.

    Attributes:
        work: what `do_work` takes.
        job: the job itself; its function and arguments are not used.
        reads: the object with path -> content of the files of the results folder that the job may read.
        data: path inside the folder of the data sets -> the object with the content.
        alone: the job takes its machine for itself.
        shared: others use the machine in any case.
    """

    work: bytes
    job: Job
    supplies: Supplies
    reads: Any
    data: Mapping[str, Any]
    alone: bool
    shared: bool = False


class Began(NamedTuple):
    """The first message of a task: the node that it runs on, by its identity and its address."""

    node: str
    address: str


def run_task(task: Task) -> Iterator[tuple[str, Any]]:
    """Runs a job and yields its messages: ("began", `Began`), ("waits", a line for the user) if it waits for the node, ("event",
    a `Parcel`) and ("end", the result or an exception).

    The parcels and the result are bytes.
    """
    context = ray.get_runtime_context()
    node = Began(context.get_node_id(), ray.util.get_node_ip_address())
    yield "began", node
    supplies, folder = task.supplies, NodeFolder(task.supplies.run, node.node[:8])
    folder.open()
    registry.trust(supplies.trusted)
    _set_environment(supplies.environment)
    data = supplies.data_folder or folder.unpack(
        "data", {path: partial(_fetch, content) for path, content in task.data.items()}
    )
    _set_search(supplies, folder)
    if (line := explain_wait(task.alone)) is not None:
        yield "waits", line
    with (
        folder.make_results_folder(ray.get(task.reads)) as results,
        claim_machine() if task.alone else share_machine() as is_alone,
    ):
        place = Place(Store(results), data, shared=task.shared or not is_alone)
        environment = {} if supplies.data_folder else {NODE: socket.gethostname()}
        if task.job.device != "cpu":
            environment[VISIBLE] = os.environ.get(VISIBLE, "")
        job = replace(task.job, function=do_work, arguments=(task.work, place), environment=environment)
        has_ended = False

        def offer_job() -> Iterator[Job | None]:
            yield job
            while not has_ended:  # Ray cancels a task by an exception, which is raised once this process wakes
                yield None

        try:
            with closing(stream_messages(offer_job(), workers=2)) as messages:  # with room for one more, it asks
                for kind, _, content in messages:
                    has_ended = kind == "end"
                    yield kind, content
        finally:
            if not has_ended:
                folder.leave(results, CHECKPOINTS)


def collect_left(run: str) -> dict[str, bytes]:
    """Removes the folder of a run on this node, and returns the checkpoints that cancelled jobs left there."""
    folder = NodeFolder(run, ray.get_runtime_context().get_node_id()[:8])
    folder.wait_for_jobs(SECONDS_TO_STOP)
    left = folder.read_left()
    folder.remove()
    return left


def _fetch(content: Any) -> bytes:
    fetched: bytes = ray.get(content)
    return fetched


def _set_environment(values: Mapping[str, str]) -> None:
    for name in INHERITED:
        os.environ.pop(name, None)
    os.environ.update(values)


def _set_search(supplies: Supplies, folder: NodeFolder) -> None:
    """Lets Python find the modules of the user's own components; processes of jobs take over the order."""
    if supplies.code is None:
        sys.path.extend(path for path in supplies.search if path not in sys.path)
        return
    files = ray.get(supplies.code)
    code = str(folder.unpack("code", {path: partial(bytes, content) for path, content in files.items()}))
    if code not in sys.path:
        sys.path.insert(0, code)  # the user's modules come before those of the node, as on the machine of the command
