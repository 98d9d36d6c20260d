"""Runs functions in processes of this machine: one may crash, be killed or run out of memory without harm to the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
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
from capsbench.running.executors.parent import end_with_parent

PRELOADED = [
    "capsbench.running.cell_job",
    "torch._dynamo",  # the first optimiser step imports it
    "capsbench_kernels.passes.cpu.launch",  # the first vote pass does
    *sorted({path.partition(":")[0] for kind in registry.BUILT_IN.values() for path in kind.values()}),
]

SendEvent = Callable[[Any], None]


@dataclass(frozen=True)
class Job:
    """A call ``function(*arguments, send_event)`` with a name; the function must be importable by name."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def in_processes(
    jobs: Iterable[Job],
    workers: int = 1,
    on_event: Callable[[str, Any], None] = lambda name, event: None,
    seconds_left: Callable[[], float | None] = lambda: None,
) -> Iterator[tuple[str, Any]]:
    """Runs each job in a new process, at most ``workers`` at a time, and yields (name, result) as jobs end.

    The result of a failed job is an exception: the UsageError, TrainingFailed or StorageFailed that it raised, else
    ProcessFailed, which names the signal if the process died. Leaving the loop, also by Ctrl-C, kills the running processes.

    Args:
        on_event: called as ``on_event(name, event)`` for each event that a job sends.
        seconds_left: returns the time that is left for all jobs, None if there is no limit; jobs that have not ended by then
            yield no result.
    """
    waiting = deque(jobs)
    running: dict[Connection, _Process] = {}
    try:
        while (waiting or running) and ((left := seconds_left()) is None or left > 0):
            while waiting and len(running) < workers:
                process = _Process(waiting.popleft())
                running[process.receiver] = process
            for ready in wait(list(running), left):
                assert isinstance(ready, Connection)
                process = running[ready]
                kind, content = process.receive_message()
                if kind == "event":
                    on_event(process.job.name, content)
                else:
                    del running[ready]
                    yield process.job.name, content
    finally:
        for process in running.values():
            process.kill_process()


class _Process:
    def __init__(self, job: Job) -> None:
        # Torch's profiler, which measures memory, would otherwise write lines into the progress display.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        # The server imports everything once and forks each process in milliseconds. It has no threads and no CUDA state.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.job = job
        self.receiver, sender = context.Pipe(duplex=False)
        self.process = context.Process(target=_run_job, args=(sender, job, registry.trusted_paths()), daemon=True)
        with _hide_main():
            try:
                resource_tracker.ensure_running()  # else the server starts it, and it unblocks interrupts
                with _block_interrupts():
                    forkserver.ensure_running()
                self.process.start()
            except OSError as error:
                if "AF_UNIX" not in str(error):  # "AF_UNIX path too long" has no errno
                    raise
                folder, remedy = tempfile.gettempdir(), "set TMPDIR to a shorter one, such as /tmp"
                problem = "its path is too long for the sockets of processes"
                raise UsageError(Kind.INVALID, problem, file=folder, expected=remedy) from error
        sender.close()

    def receive_message(self) -> tuple[str, Any]:
        """Returns the next ("event", event), or ("end", result or exception) once the process is gone."""
        try:
            kind, content = self.receiver.recv()
        except (EOFError, OSError):
            self.process.join()
            kind, content = "end", ProcessFailed(f"the process died: {cause_of_death(self.process.exitcode)}")
        if kind == "end":
            self.kill_process()
        return kind, content

    def kill_process(self) -> None:
        self.process.kill()  # no effect on a process that has ended
        self.process.join()
        self.receiver.close()


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
def _block_interrupts() -> Iterator[None]:
    """Blocks Ctrl-C in processes that are started in the block, and in their children: the parent decides when they end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_job(sender: Connection, job: Job, trusted: Iterable[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in `_block_interrupts`, whoever started the server
    end_with_parent()  # Ctrl-C may stop the parent while the server starts this process, so that nobody would kill it
    registry.trust(trusted)
    result: Any
    try:
        result = job.function(*job.arguments, lambda event: sender.send(("event", event)))
    except BrokenPipeError:
        return  # the parent, which would read the result, is gone
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
