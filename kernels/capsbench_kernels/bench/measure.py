"""Measures time, memory, and the peaks of the machine."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from capsbench_kernels.bench.floor import Peaks

Run = Callable[[], Any]

ROUNDS = 5
"""Number of rounds, in each of which every contender takes its turn: a drift of the machine then affects all alike."""

LEAST = 3
"""Smallest number of runs of a contender, however slow."""

FLUSHED = 256 * 2**20
"""Bytes overwritten before each timed run on a GPU, so that no run finds its inputs in the L2 cache."""


MATRIX_SIDE = {"cpu": 1536, "cuda": 8192}
"""Side of the matrices whose product measures a machine's peak arithmetic."""

COPIED = {"cpu": 2**27, "cuda": 2**30}
"""Bytes of the copy that measures its bandwidth; far more than its caches hold."""


class Failure(Exception):
    """A contender that cannot be measured; `str` is the status of its row.

    Args:
        reason: the error raised, in one line; None if it ran out of memory.
    """

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return "out of memory" if self.reason is None else f"failed: {self.reason}"


@contextmanager
def name_failures(device: torch.device) -> Iterator[None]:
    """Turns any exception of a contender, out of memory too, into a `Failure`."""
    try:
        with _memory_limit(device):
            yield
    except Failure:
        raise
    except Exception as error:
        raise Failure(_describe_error(error)) from None


def _describe_error(error: Exception) -> str | None:
    message = str(error)
    memory = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in message
    )
    if memory:
        return None
    line = next((line.strip() for line in message.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}"


@contextmanager
def _memory_limit(device: torch.device) -> Iterator[None]:
    """Limits this process, on a CPU under Linux, to the free memory: else the system would kill it rather than refuse."""
    if device.type != "cpu" or sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = mapped + free_memory()
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def free_memory() -> int:
    """Returns the bytes that this process can still get under Linux, from the machine or its container."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # not in a container of this kind, or in one without a limit
        return free
    cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return min(free, limit - used + int(cached.get("inactive_file", 0)))


def release_memory(device: torch.device) -> None:
    """Frees the memory that a failed contender left behind."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def peak_memory(run: Run, device: torch.device) -> int:
    """Returns the most bytes that torch held at once in ``run``, results included, beyond those held before.

    Memory that a kernel allocates without torch is not counted.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        results = run()
        torch.cuda.synchronize(device)
        del results
        return torch.cuda.max_memory_allocated(device) - before
    # Allocations themselves, unlike the process's resident set, do not depend on what ran before.
    activities = [torch.profiler.ProfilerActivity.CPU]
    # `acc_events` keeps torch 2.11 from a warning of cycles, of which there is one.
    with torch.profiler.profile(activities=activities, profile_memory=True, acc_events=True) as profile:
        run()
    held = peak = 0
    events = profile.profiler.kineto_results.events()
    for _, change in sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"):
        held += change
        peak = max(peak, held)
    return peak


def seconds_of(run: Run, device: torch.device) -> float:
    """Returns the time of one run: wall time on a CPU; on a GPU between two events, its L2 cache overwritten first."""
    if device.type != "cuda":
        begin = time.perf_counter()
        results = run()
        elapsed = time.perf_counter() - begin
        del results
        return elapsed
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.empty(FLUSHED, dtype=torch.int8, device=device).zero_()
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def time_interleaved(
    runs: Mapping[str, Run], seconds: float, device: torch.device
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Returns the seconds of each run of each contender, and the status of those that failed.

    Each runs for about ``seconds`` over all rounds, and at least `LEAST` times. The caller has warmed them up.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    failed: dict[str, str] = {}
    for turn in range(ROUNDS):
        # The order alternates, so that no contender always follows the same one.
        for name in list(runs)[:: -1 if turn % 2 else 1]:
            if name in failed or (len(times[name]) >= LEAST and sum(times[name]) >= seconds):
                continue
            until = time.perf_counter() + seconds / ROUNDS
            try:
                with name_failures(device):
                    times[name].append(seconds_of(runs[name], device))
                    while time.perf_counter() < until:
                        times[name].append(seconds_of(runs[name], device))
            except Failure as failure:
                failed[name] = str(failure)
    return times, failed


def measure_peaks(device: torch.device) -> Peaks:
    """Measures float32 arithmetic in a large matrix product, outside a GPU's matrix units, and bandwidth in a large copy."""
    side = MATRIX_SIDE[device.type]
    one, other = torch.randn(2, side, side, device=device)
    product = torch.empty_like(one)
    source, target = torch.ones(2, COPIED[device.type] // 4, device=device)
    precise = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        multiplied = min(seconds_of(lambda: torch.mm(one, other, out=product), device) for _ in range(5))
    finally:
        torch.set_float32_matmul_precision(precise)
    copied = min(seconds_of(lambda: target.copy_(source), device) for _ in range(5))
    return Peaks(flops=2 * side**3 / multiplied, bandwidth=2 * source.nbytes / copied)


@contextmanager
def set_threads(threads: int | None) -> Iterator[None]:
    """Sets torch's threads for a block; None leaves them."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def count_cores() -> int:
    """Returns the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
