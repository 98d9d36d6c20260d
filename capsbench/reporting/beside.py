"""Work in a copy of this process, on another core: for what needs much that is here and gives back little."""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

Made = TypeVar("Made")


def cores() -> int:
    """How many copies of this process can work at a time."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def begun(work: Callable[[], Made]) -> Callable[[], Made]:
    """Begins the work beside this process; calling what is returned waits for what it makes.

    The work must not need threads (those of torch, say): a copy has none of its original's. Where processes cannot be copied, or
    where the copy does not get to its end, the work is done here, when it is waited for.
    """
    if sys.platform != "linux":
        return work
    receiving, sending = multiprocessing.Pipe(duplex=False)
    copy = multiprocessing.get_context("fork").Process(target=_send, args=(work, sending), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # later Pythons warn of any thread that the copy would lack
        copy.start()
    sending.close()

    def wait() -> Made:
        try:
            made: Made = receiving.recv()
        except EOFError:
            made = work()
        copy.join()
        return made

    return wait


def _send(work: Callable[[], object], sending: Connection) -> None:
    try:
        sending.send(work())
    except Exception:
        sending.close()  # it will be done again where its error is seen
