"""Runs functions in processes of this machine: one may crash, be killed or run out of memory without harm to the others."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

from capsbench import registry
from capsbench.errors import (
    FOREIGN,
    Kind,
    ProcessFailed,
    StorageFailed,
    TrainingFailed,
    UsageError,
    cause_of_death,
    message_of,
)
from capsbench.running.executors.base import Job, Notify
from capsbench.running.executors.parent import SECONDS_TO_STOP, end_with_parent
from capsbench.running.waiting import shorten_waits_of_children

PRELOADED = [
    "capsbench.running.cell_job",
    "capsbench.running.executors.preload",
    "torch._dynamo",  # torch imports it when `cost` counts the arithmetic of a network
    *sorted(
        {
            path.partition(":")[0]
            for kind in registry.BUILT_IN.keys() - {"tracker"}
            for path in registry.BUILT_IN[kind].values()
        }
    ),
]
"""What the server imports: all that processes use. Trackers are in the process of the command."""

SECONDS_BETWEEN_OFFERS = 1.0
"""The time after which jobs are asked for again if there was none at the moment."""

END = object()
"""Taken from the jobs once there are no more."""


def in_processes(
    jobs: Iterable[Job | None],
    workers: int = 1,
    on_event: Notify = lambda name, event: None,
    seconds_left: Callable[[], float | None] = lambda: None,
    fork: bool = False,
) -> Iterator[tuple[str, Any]]:
    """Runs each job in a new process, at most ``workers`` at a time, and yields (name, result) as jobs end.

    The result of a failed job is an exception: the UsageError, TrainingFailed or StorageFailed that it raised, else
    ProcessFailed, which names the signal if the process died. Leaving the loop, also by Ctrl-C, stops the running processes.

    Args:
        jobs: a job is taken when a process may start; None means that there is none at the moment.
        on_event: called as ``on_event(name, event)`` for each event that a job sends.
        seconds_left: returns the time that is left for all jobs, None if there is no limit; jobs that have not ended by then
            yield no result.
        fork: fork the present process, which has imported what the jobs need, rather than the server. It must not have
            used CUDA, nor several threads unless each job sets their number to one.
    """
    with closing(stream_messages(jobs, workers, seconds_left, fork)) as messages:
        for kind, name, content in messages:
            if kind == "event":
                on_event(name, content)
            else:
                yield name, content


def stream_messages(
    jobs: Iterable[Job | None],
    workers: int = 1,
    seconds_left: Callable[[], float | None] = lambda: None,
    fork: bool = False,
) -> Generator[tuple[str, str, Any], None, None]:
    """Runs jobs as `in_processes`, and yields ("event", name, event) and ("end", name, result) as they come."""
    source = iter(jobs)
    running: list[_Process] = []
    has_more = True
    try:
        while (left := seconds_left()) is None or left > 0:
            waits = False
            while has_more and not waits and len(running) < workers:
                job = next(source, END)
                has_more, waits = job is not END, job is None
                if isinstance(job, Job):
                    running.append(_Process(job, fork))
            if not running and not has_more:
                return
            limits = [left, SECONDS_BETWEEN_OFFERS if waits else None, *(process.seconds_left for process in running)]
            for process in _wait_for_any(running, min((limit for limit in limits if limit is not None), default=None)):
                for kind, content in process.receive_messages():
                    if kind == "end":
                        running.remove(process)
                    yield kind, process.job.name, content
    finally:
        _stop_processes(running)


class _Process:
    def __init__(self, job: Job, fork: bool) -> None:
        # Torch's profiler, which measures memory, would otherwise write lines into the progress display.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        # The server imports everything once and forks each process in milliseconds. It has no threads and no CUDA state.
        context: Any = multiprocessing.get_context("fork" if fork else "forkserver")
        self.job = job
        self.ends = None if job.time_limit is None else time.monotonic() + job.time_limit
        self.receiver, sender = context.Pipe(duplex=False)
        self.process = context.Process(target=_run_job, args=(sender, job, registry.trusted_paths()), daemon=True)
        with _hide_main():
            if fork:
                _fork_process(self.process)
            else:
                _start_from_server(self.process)
        sender.close()

    @property
    def seconds_left(self) -> float | None:
        """The rest of the job's time limit, at least 0."""
        return None if self.ends is None else max(0.0, self.ends - time.monotonic())

    def receive_messages(self) -> Iterator[tuple[str, Any]]:
        """Yields ("event", event) for those sent, then ("end", result or exception) once the process is gone."""
        # A process that has died may have sent messages before. A child of it may still hold the pipe, which then has no end.
        is_dead = not self.process.is_alive()
        try:
            while self.receiver.poll():
                kind, content = self.receiver.recv()
                if kind == "end":
                    self.kill_process()
                    yield kind, content
                    return
                yield kind, content
        except (EOFError, OSError):
            self.process.join(SECONDS_TO_STOP)
            is_dead = True
        if is_dead:
            self.kill_process()
            yield "end", ProcessFailed(f"the process died: {cause_of_death(self.process.exitcode)}")
        elif self.seconds_left == 0:
            _stop_processes([self])
            yield "end", ProcessFailed(f"longer than its time limit of {self.job.time_limit:,.12g} s")

    def kill_process(self) -> None:
        self.process.kill()  # no effect on a process that has ended
        self.process.join()
        self.receiver.close()


def _wait_for_any(running: Sequence[_Process], seconds: float | None) -> list[_Process]:
    """Waits until a process has sent a message or died, or its time is over, and returns all of these."""
    waited_for = [source for process in running for source in (process.receiver, process.process.sentinel)]
    ready = {*wait(waited_for, seconds)}
    return [
        process
        for process in running
        if process.receiver in ready or process.process.sentinel in ready or process.seconds_left == 0
    ]


def _stop_processes(processes: Sequence[_Process]) -> None:
    """Asks processes to end, so that a training writes its checkpoint, and kills those that do not in time, all together."""
    for process in processes:
        process.process.terminate()
    ends = time.monotonic() + SECONDS_TO_STOP
    for process in processes:
        process.process.join(max(0.0, ends - time.monotonic()))
        process.kill_process()


def _start_from_server(process: BaseProcess) -> None:
    """Starts a process that the server forks; the server is started first, if it does not run."""
    forkserver.set_forkserver_preload(PRELOADED)
    try:
        # Slurm sends SIGUSR2 to all processes of a job shortly before its time limit; only the first answers it.
        with _block_signal(signal.SIGUSR2):
            resource_tracker.ensure_running()  # else the server starts it, and it unblocks interrupts
            # Ctrl-C is for the parent, which decides when its children end.
            # A script or a notebook that has imported torch may start the server.
            with _block_signal(signal.SIGINT), shorten_waits_of_children():
                forkserver.ensure_running()
        process.start()
    except OSError as error:
        if "AF_UNIX" not in str(error):  # "AF_UNIX path too long" has no errno
            raise
        folder, remedy = tempfile.gettempdir(), "set TMPDIR to a shorter one, such as /tmp"
        problem = "its path is too long for the sockets of processes"
        raise UsageError(Kind.INVALID, problem, file=folder, expected=remedy) from error


def _fork_process(process: BaseProcess) -> None:
    with _block_signal(signal.SIGINT), warnings.catch_warnings():
        # Of the threads that NumPy's BLAS starts when it is imported, which it stops before a fork and starts again.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()


@contextmanager
def _hide_main() -> Iterator[None]:
    """Keeps a new process from importing the caller's script, which may lack a guard by ``__name__``."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


@contextmanager
def _block_signal(number: signal.Signals) -> Iterator[None]:
    """Blocks a signal in processes that are started in the block, and in their children."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_job(sender: Connection, job: Job, trusted: Iterable[str]) -> None:
    with suppress(OSError):  # of a command without stderr
        os.dup2(2, 1)  # what a user's own code prints is no part of what programs read of the command
    gc.freeze()  # else each collection visits a million objects of the server, and copies their memory
    os.environ.update(job.environment)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as with `_block_signal`, whoever started the server
    end_with_parent()  # Ctrl-C may stop the parent while the server starts this process, so that nobody would kill it
    registry.trust(trusted)

    def send_event(event: Any) -> None:
        try:
            sender.send(("event", event))
        except BrokenPipeError:  # the parent is gone: a training writes its checkpoint
            os.kill(os.getpid(), signal.SIGTERM)

    result: Any
    try:
        result = job.function(*job.arguments, send_event)
    except FOREIGN as error:
        result = to_sendable(error)
    try:
        sender.send(("end", result))
    except BrokenPipeError:
        return


def to_sendable(error: BaseException) -> Exception:
    """Converts an error to a picklable one: errors for users stay, others become `ProcessFailed` with a line and a traceback."""
    if isinstance(error, UsageError | TrainingFailed | StorageFailed):
        return error
    message = message_of(error, first_line=True)
    reason = f"out of memory: {message}" if _is_out_of_memory(error, message) else f"{type(error).__name__}: {message}"
    return ProcessFailed(reason, "".join(traceback.format_exception(error)))


def _is_out_of_memory(error: BaseException, message: str) -> bool:
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in message
