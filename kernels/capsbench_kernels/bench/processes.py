"""Times programs in processes of their own, so that none has what another one changes in its process: threads, kept memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from capsbench_kernels.bench.measure import set_threads, time_interleaved

SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
"""The variables that tell OpenMP's threads how to wait."""


def read_plain_environment() -> dict[str, str]:
    """Returns the variables of this process without `SETTINGS`: what a program finds whose user has decided nothing."""
    return {name: value for name, value in os.environ.items() if name not in SETTINGS}


@contextmanager
def use_core() -> Iterator[None]:
    """Runs a process that never rests, and ends with this one also if the system kills this one."""
    # Ctrl-C reaches this process as well, which would print where it was.
    source = f"import os\nwhile os.getppid() == {os.getpid()}:\n  for _ in range(10**6): pass"
    busy = subprocess.Popen([sys.executable, "-c", source], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def run_program(source: str, environment: Mapping[str, str]) -> list[float]:
    """Returns the durations that a program prints, in seconds, such as one that calls `print_times`.

    Raises:
        RuntimeError: it failed; with the signal that ended it, or the last line of its errors.
    """
    # It imports what this process does, also in a folder with another copy of this package.
    environment = {**environment, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", "-c", source]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode < 0:
        raise RuntimeError(f"ended by signal {-done.returncode} ({signal.strsignal(-done.returncode)})")
    if done.returncode != 0:
        raise RuntimeError(next(reversed(done.stderr.strip().splitlines()), f"exit code {done.returncode}"))
    return [float(seconds) for seconds in json.loads(done.stdout.splitlines()[-1])]


def time_programs(programs: Mapping[str, str], rounds: int) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Returns the durations of each program over all rounds, and what is wrong with those that failed.

    In each round, every program runs once, in a new process. The order alternates, so that no program always follows the same
    one, and a drift of the machine affects all alike.

    Args:
        programs: name -> Python source, as for `run_program`.
        rounds: number of rounds.
    """
    environment = read_plain_environment()
    times: dict[str, list[float]] = {name: [] for name in programs}
    failed: dict[str, str] = {}
    for turn in range(rounds):
        for name in list(programs)[:: -1 if turn % 2 else 1]:
            if name in failed:
                continue
            try:
                times[name] += run_program(programs[name], environment)
            except RuntimeError as error:
                failed[name] = str(error)
    return times, failed


def print_times(run: Callable[[], Any], seconds: float, threads: int | None, device: torch.device) -> None:
    """Prints the durations of runs, after two that warm up."""
    with set_threads(threads):
        for _ in range(2):
            run()
        times, failed = time_interleaved({"": run}, seconds, device)
        if failed:
            raise SystemExit(failed[""])
        print(json.dumps(times[""]))
