"""Searches for faults, and commands called as they are typed, in the process of the test, whatever becomes of them."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings

from capsbench.cli.main import main

LENGTHS = pytest.mark.parametrize("length", [1, pytest.param(10, marks=pytest.mark.slow)])
"""A search is short in `make test` and ten times longer in `make test-all`."""


def searched(examples: int) -> settings:
    """The settings of a search through so many examples, the same ones each time."""
    return settings(
        max_examples=examples, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )


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
        with pytest.raises(SystemExit) as left:
            main()
    return Called(int(left.value.code or 0), out.getvalue(), err.getvalue())
