"""Work begun in a copy of the process, and waited for."""

import gc
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable

import pytest

from capsbench.reporting.beside import begun, readied


@pytest.mark.skipif(sys.platform != "linux", reason="processes are not copied here")
def test_what_is_here_is_there_and_what_it_makes_comes_back() -> None:
    here = {"numbers": [1, 2, 3]}
    wait = begun(lambda: (os.getpid(), here["numbers"]))
    here["numbers"] = []  # too late for the copy
    process, numbers = wait()
    assert process != os.getpid()
    assert numbers == [1, 2, 3]


def test_what_fails_beside_is_done_here() -> None:
    first = os.getpid()

    def work() -> int:
        if os.getpid() != first:
            raise RuntimeError("not there")
        return 1

    assert begun(work)() == 1


def test_a_copy_that_dies_is_done_without() -> None:
    first = os.getpid()

    def work() -> int:
        if os.getpid() != first:
            os._exit(9)
        return 2

    assert begun(work)() == 2


@pytest.mark.skipif(sys.platform != "linux", reason="processes are not copied here")
def test_an_interrupt_is_for_the_original_alone() -> None:
    first = os.getpid()

    def work() -> bool:
        if os.getpid() != first:
            os.kill(os.getpid(), signal.SIGINT)
        return os.getpid() != first

    assert begun(work)()


def test_an_error_of_the_work_is_raised_to_whom_it_belongs() -> None:
    error = LookupError("wrong here too")

    def work() -> int:
        raise error

    with pytest.raises(LookupError) as caught:
        begun(work)()
    assert caught.value is error


def test_what_is_made_ready_there_takes_what_it_is_given() -> None:
    def prepare() -> Callable[[int], tuple[int, int]]:
        process = os.getpid()
        return lambda number: (process, number + 1)

    process, number = readied(prepare)(1)()
    assert number == 2
    assert (process != os.getpid()) == (sys.platform == "linux")


def test_matter_of_a_copy_that_died_is_worked_on_here() -> None:
    first = os.getpid()

    def prepare() -> Callable[[bytes], int]:
        if os.getpid() != first:
            os._exit(9)
        return len

    give = readied(prepare)
    wait_until_alone()
    assert give(bytes(1_000_000))() == 1_000_000


def test_a_copy_ends_that_is_never_given_anything() -> None:
    give = readied(lambda: len)
    del give
    gc.collect()
    wait_until_alone()


def wait_until_alone() -> None:
    for _ in range(1000):
        if not multiprocessing.active_children():
            return
        time.sleep(0.01)
    raise AssertionError("the copy is still there")
