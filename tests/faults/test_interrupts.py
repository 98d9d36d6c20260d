"""Ctrl-C at any moment, once and twice, in real processes: exit code 130, one line, no traceback, no process left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from capsbench.records.store import Store

SCRIPT = "from capsbench.cli.main import main; print('started', flush=True); main()"

RUN = [
    *("run", "--routing", "em", "--iters", "1,2", "--epochs", "3000", "--seeds", "0,1,2", "--train-size", "100"),
    *("--baseline", "none", "--no-measure"),
]


class Pressed(NamedTuple):
    """How a command ended, and what it printed after it had started."""

    code: int
    out: str
    err: str


def press(words: list[str], folder: Path, *moments: float) -> Pressed:
    """Calls a command, with Ctrl-C for it and what it started at some moments, in seconds from its start.

    Nothing that it started goes on after it.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # as in a terminal
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    started = time.monotonic()
    for moment in moments:
        time.sleep(max(0.0, moment - (time.monotonic() - started)))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    ends = time.monotonic() + 20
    while is_alive(process.pid) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not is_alive(process.pid)
    return Pressed(process.returncode, out, err)


def is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def check(pressed: Pressed) -> None:
    printed = pressed.out + pressed.err
    assert "Traceback" not in printed
    assert "KeyboardInterrupt" not in printed
    assert pressed.code == 130
    told = [line for line in printed.splitlines() if "interrupted" in line]
    assert 1 <= len(told) <= 2  # twice where the second comes when the first is told


def moments_of(seed: int) -> tuple[float, ...]:
    """One moment, or two: during the imports, while the plan is made, while workers start, and while they train."""
    rng = random.Random(seed)
    first = rng.choice([0.02, 0.3, 2.0, 6.0]) * (0.5 + rng.random())
    return (first,) if seed % 2 else (first, first + rng.choice([0.0, 0.01, 0.1, 0.5]) * rng.random())


@pytest.mark.slow
def test_a_run_that_is_interrupted_says_so_whenever_that_is(tmp_path: Path) -> None:
    for seed in range(8):
        check(press(RUN, tmp_path, *moments_of(seed)))
        assert Store(tmp_path / "results").records()[1] == []


@pytest.mark.parametrize(
    ("words", "moment"),
    [(["--help"], 0.01), (["list"], 0.5), (["list"], 1.0), ([*RUN, "--dry-run"], 2.0)],
    ids=str,
)
def test_other_commands_end_alike(tmp_path: Path, words: list[str], moment: float) -> None:
    pressed = press(words, tmp_path, moment, moment + 0.05)
    if pressed.code != 0:  # it was done before
        check(pressed)
