"""Work in a copy of this process, on another core: for what needs much, of what is here or made ready, and gives back little."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TypeVar

Given = TypeVar("Given")
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


def readied(prepare: Callable[[], Callable[[Given], Made]]) -> Callable[[Given], Callable[[], Made]]:
    """Makes work ready beside this process, such as by importing what it needs; it begins once it is given its matter.

    Args:
        prepare: makes the work ready and returns it.

    Returns:
        what takes the matter and returns what waits for what is made of it; where a copy does not do it, it is done here, as
        with `begun`. Matter of more than some ten kilobytes is taken once the work is ready.
    """
    receiving, sending = multiprocessing.Pipe(duplex=False)
    given: list[Given] = []

    def work() -> Made:
        sending.close()  # the copy's own, so that it sees where this process ends without a word
        return prepare()(given[0] if given else receiving.recv())

    wait = begun(work)
    receiving.close()  # nobody but the copy is waiting to be given it: one that has ended is noticed

    def give(matter: Given) -> Callable[[], Made]:
        given.append(matter)
        with suppress(OSError):  # of a copy that has ended
            sending.send(matter)
        return wait

    return give


def _send(work: Callable[[], object], sending: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the original, whose end is the copy's
    try:
        sending.send(work())
    except Exception:
        sending.close()  # it will be done again where its error is seen
