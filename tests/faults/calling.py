"""Calls a command as it is typed, in the process of the test, whatever becomes of it."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import NamedTuple

import pytest

from capsbench.cli.main import main


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
