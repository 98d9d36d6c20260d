"""Searches for faults, and commands called as they are typed, in the process of the test, whatever becomes of them."""

from __future__ import annotations

import contextlib
import io
import math
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, seed, settings

from capsbench.cli.main import main

LENGTHS = pytest.mark.parametrize("length", [0.2, pytest.param(3, marks=pytest.mark.slow)])
"""A search is short in `make test` and fifteen times longer in `make test-all`."""


SEED = int(os.environ.get("FAULTS_SEED", "0"))
"""A search goes through the same examples each time, unless it is told to go through others."""


def searched(examples: float) -> Callable[[Any], Any]:
    """A search through so many examples."""
    bounded = settings(
        max_examples=math.ceil(examples),
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to make a failure small may take minutes
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    return lambda search: bounded(seed(SEED)(search))


class Called(NamedTuple):
    """The exit code of a command and what it printed."""

    code: int
    out: str
    err: str


def call(*words: str) -> Called:
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["capsbench", *words])
        patch.setattr(sys, "unraisablehook", sys.unraisablehook)
        answer = signal.getsignal(signal.SIGINT)
        try:
            with pytest.raises(SystemExit) as left:
                main()
        finally:  # in a fixture of a module too: a process that a later test starts would ignore Ctrl-C
            signal.signal(signal.SIGINT, answer)
    return Called(int(left.value.code or 0), out.getvalue(), err.getvalue())
