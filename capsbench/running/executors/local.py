"""Functions in processes of their own: one may crash, be killed or run out of memory without harm to the others."""

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

PRELOADED = [
    "capsbench.running.cell_job",
    "torch._dynamo",  # the first optimiser step imports it
    "capsbench_kernels.passes.cpu.launch",  # the first vote pass does
    *sorted({path.partition(":")[0] for kind in registry.BUILT_IN.values() for path in kind.values()}),
]

SendEvent = Callable[[Any], None]


@dataclass(frozen=True)
class Job:
    """``function(*arguments, send_event)`` under a name; the function must be importable by name."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def in_processes(
    jobs: Iterable[Job],
    workers: int = 1,
    on_event: Callable[[str, Any], None] = lambda name, event: None,
    seconds_left: Callable[[], float | None] = lambda: None,
) -> Iterator[tuple[str, Any]]:
    """Runs each job in a new process, at most ``workers`` at a time, and yields (name, result) in the order they end.

    The result of a job that failed is the exception: ProcessFailed where the process died (the message names the signal)
    or raised, otherwise the UsageError, TrainingFailed or StorageFailed that it raised. Leaving the loop, by Ctrl-C too,
    ends the processes that still run.

    Args:
        on_event: called as ``on_event(name, event)`` for each event that a job sends.
        seconds_left: for how long jobs may go on, None for as long as they take; what has not ended by then has no result.
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
                kind, content = process.receive()
                if kind == "event":
                    on_event(process.job.name, content)
                else:
                    del running[ready]
                    yield process.job.name, content
    finally:
        for process in running.values():
            process.end()


class _Process:
    def __init__(self, job: Job) -> None:
        # Torch's profiler, which measures memory, would write lines of its own into the progress display.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        # A server that has imported everything once forks each process in milliseconds; it holds no threads or CUDA state.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.job = job
        self.receiver, sender = context.Pipe(duplex=False)
        self.process = context.Process(target=_run, args=(sender, job, registry.trusted_paths()), daemon=True)
        with _main_hidden():
            try:
                resource_tracker.ensure_running()  # the server starts it, and it lets interrupts through again
                with _not_interrupted():
                    forkserver.ensure_running()
                self.process.start()
            except OSError as error:
                if "AF_UNIX" not in str(error):  # "path too long": it has no number
                    raise
                folder, remedy = tempfile.gettempdir(), "let TMPDIR name a shorter one, such as /tmp"
                problem = "its name is too long for the sockets of processes"
                raise UsageError(Kind.INVALID, problem, file=folder, expected=remedy) from error
        sender.close()

    def receive(self) -> tuple[str, Any]:
        """The next ("event", event), or ("end", result or exception) after which the process is gone."""
        try:
            kind, content = self.receiver.recv()
        except (EOFError, OSError):
            self.process.join()
            kind, content = "end", ProcessFailed(f"the process died: {cause_of_death(self.process.exitcode)}")
        if kind == "end":
            self.end()
        return kind, content

    def end(self) -> None:
        self.process.kill()  # a process that has ended by itself is not harmed
        self.process.join()
        self.receiver.close()


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Keeps the new process from importing the caller's script, which need not guard itself by ``__name__``."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


@contextmanager
def _not_interrupted() -> Iterator[None]:
    """Keeps Ctrl-C from the processes that are started in the block, and from theirs: the parent decides."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(sender: Connection, job: Job, trusted: Iterable[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `_not_interrupted`, whoever started the server
    registry.trust(trusted)
    result: Any
    try:
        result = job.function(*job.arguments, lambda event: sender.send(("event", event)))
    except BrokenPipeError:
        return  # the parent is gone, and with it whoever would read this
    except FOREIGN as error:
        result = to_be_told(error)
    try:
        sender.send(("end", result))
    except BrokenPipeError:
        return


def to_be_told(error: BaseException) -> Exception:
    """An error as another process is told it: what is meant for people as it is, anything else in a line, with its traceback."""
    if isinstance(error, UsageError | TrainingFailed | StorageFailed):
        return error
    message = message_of(error, first_line=True)
    reason = f"out of memory: {message}" if _out_of_memory(error, message) else f"{type(error).__name__}: {message}"
    return ProcessFailed(reason, "".join(traceback.format_exception(error)))


def _out_of_memory(error: BaseException, message: str) -> bool:
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in message
