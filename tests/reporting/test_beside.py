"""Work begun in a copy of the process, and waited for."""

import os

import pytest

from capsbench.reporting.beside import begun


@pytest.mark.skipif(not hasattr(os, "fork") or os.uname().sysname != "Linux", reason="processes are not copied here")
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


def test_an_error_of_the_work_is_raised_to_whom_it_belongs() -> None:
    def work() -> int:
        raise ValueError("wrong here too")

    with pytest.raises(ValueError, match="wrong here too"):
        begun(work)()
