"""The work of an array task, on the node where Slurm starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from submitit.core.utils import UncompletedJobError
from submitit.helpers import DelayedSubmission

from capsbench.errors import FOREIGN, ProcessFailed, StorageFailed
from capsbench.records.disk import read_file, write_file
from capsbench.running.executors.base import FailureOnRecord, Job, Place
from capsbench.running.executors.processes import to_sendable

BEFORE_LIMIT = signal.SIGUSR2
"""The signal that Slurm sends some time before a task's time limit, as submitit asks it to."""

FAILURES = {kind.__name__: kind for kind in (FailureOnRecord, ProcessFailed, StorageFailed)}


@dataclass(frozen=True)
class Task:
    """Jobs that run one after the other; the result of each is a file, written as the job ends.

    Args:
        token: tells the results of this task from those of others.
        results: the folder of the results.
    """

    token: str
    jobs: tuple[Job, ...]
    place: Place
    results: Path

    def __call__(self) -> None:
        """Runs the jobs that have no result yet.

        Shortly before the time limit the job that runs ends in order, and Slurm queues the task again. At SIGTERM it ends in
        order, too: Slurm sends it to tasks that are cancelled or preempted.
        """
        queue_again = signal.getsignal(BEFORE_LIMIT)  # submitit's
        received: list[int] = []

        def interrupt(number: int, frame: FrameType | None) -> None:
            received.append(number)
            if len(received) == 1:  # a further one would disturb the orderly end
                raise KeyboardInterrupt

        for number in (BEFORE_LIMIT, signal.SIGTERM):
            signal.signal(number, interrupt)
        try:
            self._run_jobs()
        except KeyboardInterrupt:
            cause = received[0] if received else signal.SIGINT
            if cause == BEFORE_LIMIT and callable(queue_again):
                self._queue_again(queue_again)
            sys.exit(128 + cause)

    def checkpoint(self) -> DelayedSubmission:
        """Returns the work that is left, for submitit: jobs with a result are not run again."""
        return DelayedSubmission(self)

    def _run_jobs(self) -> None:
        place = replace(self.place, shared=not is_exclusive())
        for job in self.jobs:
            if not self.find_result(job.name).exists():
                self._write_result(job, run_job(job, place))

    def _queue_again(self, queue_again: Any) -> None:
        try:
            queue_again(BEFORE_LIMIT, None)
        except UncompletedJobError as error:  # it reached the limit too often
            for job in self.jobs:
                if not self.find_result(job.name).exists():
                    self._write_result(job, ProcessFailed(f"longer than the time limit of its array task: {error}"))

    def find_result(self, name: str) -> Path:
        """Returns the file for the result of a job."""
        return self.results / f"{self.token}-{name}.json"

    def _write_result(self, job: Job, failure: Exception | None) -> None:
        write_file(self.find_result(job.name), json.dumps(to_facts(failure)).encode())


def run_job(job: Job, place: Place) -> Exception | None:
    """Runs a job that records its results itself, and returns its failure."""
    try:
        job.function(*job.arguments, place, lambda event: None)
    except FailureOnRecord as failure:
        return failure
    except FOREIGN as error:
        return to_sendable(error)
    return None


def to_facts(failure: Exception | None) -> dict[str, str] | None:
    """Converts a failure to values for JSON."""
    if failure is None:
        return None
    kind = type(failure) if type(failure).__name__ in FAILURES else ProcessFailed
    return {"kind": kind.__name__, "reason": str(failure), "trace": getattr(failure, "trace", "")}


def read_result(path: Path) -> Exception | None:
    """Returns the failure in the result of a job, None if there was none; raises FileNotFoundError without a result."""
    try:
        facts = json.loads(read_file(path))
        if facts is None:
            return None
        kind, reason, trace = FAILURES[facts["kind"]], str(facts["reason"]), str(facts["trace"])
        return StorageFailed(reason) if kind is StorageFailed else kind(reason, trace)
    except (ValueError, KeyError, TypeError) as error:
        return ProcessFailed(f"{path}: not a result ({error})")


def is_exclusive() -> bool:
    """Returns true if Slurm gave this process a whole node."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return False
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=False).stdout
    return "OverSubscribe=NO" in shown.split()
