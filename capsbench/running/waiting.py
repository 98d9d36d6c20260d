"""How long threads wait for work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "GOMP_SPINCOUNT"


def shorten_waits() -> None:
    """Lets torch's idle threads sleep soon, in this process, which has not imported torch yet, and in those that it starts.

    After each parallel loop of torch, GNU OpenMP threads spin for milliseconds, which delays the threads of the vote pass and
    other cells. torch reads the variable when it is first imported.
    """
    os.environ.setdefault(VARIABLE, "1000")


@contextmanager
def shorten_waits_of_children() -> Iterator[None]:
    """Does that in the processes that are started in the block.

    This process may have imported torch. The kernels take a variable that is set for the choice of its user, and would then
    leave threads spinning here.
    """
    was_set = VARIABLE in os.environ
    shorten_waits()
    try:
        yield
    finally:
        if not was_set:
            del os.environ[VARIABLE]
