"""Submits jobs to Slurm, and waits for their results."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, TypeVar

from capsbench.errors import Kind, ProcessFailed, StorageFailed, UsageError
from capsbench.records.disk import make_folder
from capsbench.records.store import Store
from capsbench.running.events import Remarked
from capsbench.running.executors.base import MOST_LOSSES, TO_USER, Detached, Job, Notify, Place, Settings
from capsbench.running.executors.slurm.notes import Notes, Submitted
from capsbench.running.executors.slurm.queue import LARGEST_ARRAY, make_queue
from capsbench.running.executors.slurm.signals import hold_signals
from capsbench.running.executors.slurm.task import Task, read_result

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_QUERIES = 10.0
"""The times between looks for results, and between questions to Slurm, which has more to do."""

Item = TypeVar("Item")


class SlurmExecutor:
    """Array tasks of Slurm. The results folder is on a disk that the nodes share; ``slurm/`` in it is for submitit."""

    records_results = True

    def __init__(self, place: Place, settings: Settings) -> None:
        self.place = Place(Store(place.store.folder.absolute()), place.data_folder.absolute())
        self.settings = settings
        folder = self.place.store.folder / "slurm"
        self.queue = make_queue(folder, settings.slurm)
        self.results = folder / "results"
        self.notes = Notes(folder / "submissions")
        self.may_detach = settings.detach

    def run(self, jobs: Iterable[Job | None], notify: Notify, *, alone: bool = False) -> Iterator[tuple[str, Any]]:
        """Runs each job, see `capsbench.running.executors.base.Executor`.

        Jobs that an earlier command submitted are not submitted again: this waits for them, or yields their failures.

        Raises:
            Detached: jobs were submitted and nobody is to wait. Only the first call does so: a command that found all its jobs
                submitted takes the further measures, too.
        """
        present = (job for job in jobs if job is not None)
        may_detach, self.may_detach = self.may_detach and not alone, False
        for batch in ([job] for job in present) if alone else [[*present]]:
            yield from _Batch(self, batch, notify, alone).run(may_detach)

    def close(self) -> None:
        """Does nothing: what has not ended was cancelled, or is to go on."""


class _Batch:
    """Jobs that are submitted together, and what is known of each."""

    def __init__(self, executor: SlurmExecutor, jobs: Sequence[Job], notify: Notify, alone: bool) -> None:
        self.executor, self.queue, self.notes = executor, executor.queue, executor.notes
        self.jobs = {job.name: job for job in jobs}
        self.notify, self.alone = notify, alone
        self.waiting: dict[str, Submitted] = {}
        """Name of a job -> what was submitted of it, until its result is there."""
        self.submitted_here: set[str] = set()
        self.losses: Counter[str] = Counter()
        self.reasons: set[str] = set()
        """Why tasks wait, as far as it was said."""

    def run(self, may_detach: bool) -> Iterator[tuple[str, Any]]:
        """Submits the jobs, unless they are, and yields (name, result) as they end."""
        self._find_submitted()
        new = [job for name, job in self.jobs.items() if name not in self.waiting]
        try:
            self._submit(new)
            if new and may_detach:
                jobs, self.waiting = len(self.waiting), {}
                raise Detached(jobs)
            queried, unqueued = time.monotonic(), set[str]()
            while self.waiting:
                before, lost = unqueued, set[str]()
                if time.monotonic() - queried >= SECONDS_BETWEEN_QUERIES:
                    queried, tasks = time.monotonic(), {job.task for job in self.waiting.values()}
                    queued = self.queue.find_queued(tasks)
                    self._say_reasons(queued)
                    unqueued = tasks - queued.keys()
                    lost = unqueued & before  # a shared disk may show a result some seconds late
                yield from self._collect_results()
                yield from self._replace_lost(lost)
                if self.waiting:
                    time.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            self._leave()

    def _find_submitted(self) -> None:
        """Takes over jobs that earlier commands submitted: those that wait or run, and those that failed since."""
        noted = self.notes.read(self.executor.results)
        earlier = {name: noted[name] for name in self.jobs if name in noted}
        queued = self.queue.find_queued({job.task for job in earlier.values()}) if earlier else {}
        for name, job in earlier.items():
            has_failed = job.result.exists() and read_result(job.result) is not None
            if has_failed or job.task in queued:
                self.waiting[name] = job
            else:
                self._end(name, job)
        if self.waiting:
            self._say(f"{_count(self.waiting, 'job')} submitted to Slurm by an earlier command")

    def _submit(self, jobs: Sequence[Job]) -> None:
        """Submits jobs of equal needs as arrays, and notes them."""

        def get_needs(job: Job) -> tuple[int, str]:
            return job.threads, job.device

        make_folder(self.executor.results)
        for (_, device), group in groupby(sorted(jobs, key=get_needs), get_needs):
            if ":" in device:
                problem = "Slurm chooses the GPU of a job"
                raise UsageError(Kind.CONFLICT, problem, flag="device", value=device, expected="use cuda")
            packs = _chunk([*group], self.executor.settings.cells_per_job)
            tasks = [Task(secrets.token_hex(4), pack, self.executor.place, self.executor.results) for pack in packs]
            for array in _chunk(tasks, LARGEST_ARRAY):
                with hold_signals():  # else nobody would know of tasks to cancel
                    identities = self.queue.submit(array, alone=self.alone)
                    try:
                        self.waiting |= self.notes.write(dict(zip(identities, array, strict=True)))
                    except StorageFailed:
                        self.queue.cancel(identities)
                        raise
                    self.submitted_here |= {*identities}
                self._say(f"{_count(array, 'array task')} submitted to Slurm, job {identities[0].partition('_')[0]}")

    def _collect_results(self) -> Iterator[tuple[str, Any]]:
        folder = self.executor.results
        with suppress(OSError):  # a change lets a network disk read the folder anew
            folder.chmod(folder.stat().st_mode)
        names = {path.name for path in folder.iterdir()}
        for name, job in [*self.waiting.items()]:
            if job.result.name in names:
                failure = read_result(job.result)
                self._end(name, job)
                yield name, failure

    def _replace_lost(self, tasks: set[str]) -> Iterator[tuple[str, Any]]:
        """Submits the jobs of lost tasks again, and yields the failures of those that were lost too often."""
        again: list[Job] = []
        for task in tasks:
            names = [name for name, job in self.waiting.items() if job.task == task]
            reason = self._explain_loss(task) if names else ""
            for name in names:
                self._end(name, self.waiting[name])
                self.losses[name] += 1
                if self.losses[name] > MOST_LOSSES:
                    yield name, ProcessFailed(f"{reason}, and {MOST_LOSSES} before it")
                else:
                    again.append(self.jobs[name])
            if names:
                self._say(reason)
        try:
            self._submit(again)
        except UsageError as error:  # Slurm does not answer; the tasks that it has go on
            for job in again:
                if job.name not in self.waiting:
                    yield job.name, ProcessFailed(f"an array task of Slurm was lost, and {error}")

    def _explain_loss(self, task: str) -> str:
        log = self.queue.find_log(task)
        output = f"; see {log}" if log.exists() and log.stat().st_size else ""
        return f"array task {task} of Slurm was lost ({self.queue.explain_loss(task)}){output}"

    def _say_reasons(self, queued: Mapping[str, str]) -> None:
        """Says once for each reason why tasks wait that may never run."""
        for reason in sorted({*queued.values()} - self.reasons - {""}):
            self.reasons.add(reason)
            tasks = [task for task, why in queued.items() if why == reason]
            self._say(f"{_count(tasks, 'array task')} waiting in Slurm's queue: {reason}")

    def _end(self, name: str, job: Submitted) -> None:
        self.waiting.pop(name, None)
        job.result.unlink(missing_ok=True)
        self.notes.end(name)

    def _leave(self) -> None:
        """Cancels the tasks that were submitted here and have not ended, unless they are to go on."""
        left = {name: job for name, job in self.waiting.items() if job.task in self.submitted_here}
        tasks = sorted({job.task for job in left.values()})
        if tasks and self.executor.settings.detach:
            self._say(f"{_count(tasks, 'array task')} of Slurm not cancelled")
        elif tasks:
            self.queue.cancel(tasks)
            for name, job in left.items():
                self._end(name, job)
            self._say(f"{_count(tasks, 'array task')} of Slurm cancelled")

    def _say(self, line: str) -> None:
        self.notify(TO_USER, Remarked(line))


def _chunk(items: Sequence[Item], size: int) -> list[tuple[Item, ...]]:
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]


def _count(items: Sequence[Any] | dict[str, Any], noun: str) -> str:
    return f"{len(items)} {noun}" + ("" if len(items) == 1 else "s")
