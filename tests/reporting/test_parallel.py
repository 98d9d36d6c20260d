"""The pictures of a report: all there is data for, and why there is none of the others."""

import gc
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from capsbench.presenting.figures.figure import Picture
from capsbench.presenting.figures.files import image
from capsbench.presenting.material import Material
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting import parallel
from capsbench.reporting.contents import PICTURES
from capsbench.reporting.parallel import begin, begun, readied


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


Make = Callable[..., Record]


@pytest.fixture
def material(capsules: Make, tmp_path: Path) -> Material:
    """Of a contender whose speed was not measured."""
    return Material.of([capsules(0.97, None)], Store(tmp_path))


def test_a_picture_without_data_is_left_out_and_it_is_said_why(material: Material) -> None:
    made, lacking = begin(PICTURES, material, ["svg"])()
    assert list(made) == ["accuracy-iterations", "training-curves"]
    assert list(lacking) == ["accuracy-cost"]
    assert "speed" in lacking["accuracy-cost"]
    assert all(list(image.files) == ["svg"] for image in made.values())


def test_a_picture_that_cannot_be_drawn_takes_no_other_with_it(material: Material) -> None:
    def draw(material: Material) -> Picture:
        raise ZeroDivisionError("by nothing")

    made, lacking = begin({"odd": draw, **PICTURES}, material, ["svg"])()
    assert [*made] == ["accuracy-iterations", "training-curves"]
    assert "ZeroDivisionError: by nothing" in lacking["odd"]


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_the_pictures_are_the_same_on_any_number_of_cores(
    material: Material, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: cores)
    made, lacking = begin(PICTURES, material, ["png", "svg"])()
    assert made == {name: image(PICTURES[name](material), ["png", "svg"]) for name in made}
    assert [*made, *lacking] == ["accuracy-iterations", "training-curves", "accuracy-cost"]


def test_a_picture_whose_copy_dies_is_drawn_here(material: Material) -> None:
    first = os.getpid()

    def draw(material: Material) -> Picture:
        if os.getpid() != first:
            os._exit(9)
        return PICTURES["training-curves"](material)

    made, lacking = begin({"deadly": draw, **PICTURES}, material, ["svg"])()
    assert list(made) == ["deadly", "accuracy-iterations", "training-curves"]
    assert list(lacking) == ["accuracy-cost"]


def test_without_a_format_nothing_is_drawn(material: Material) -> None:
    def draw(material: Material) -> None:
        os._exit(1)

    assert begin({"never": draw}, material, [])() == ({}, {})
