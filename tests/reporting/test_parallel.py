"""The images of a report, whichever process draws them, and the reasons for those that are missing."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import pytest

from capsbench.presenting.figures.figure import Image, Picture
from capsbench.presenting.figures.files import render_image
from capsbench.presenting.material import Material, NoDataError
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting import parallel
from capsbench.reporting.contents import PICTURES
from capsbench.reporting.parallel import Draw, drawing
from tests.making import make_capsules, make_record

NAMES = ["accuracies", "accuracy-iterations", "accuracy-cost", "training-curves"]

FORKS = pytest.mark.skipif(sys.platform != "linux", reason="a fork is not safe here")

Make = Callable[..., Record]


@pytest.fixture
def material(capsules: Make, tmp_path: Path) -> Material:
    """Two contenders whose speed was not measured."""
    return Material.from_records([capsules(0.97, None), capsules(0.96, None, iterations=1)], Store(tmp_path))


@pytest.fixture(autouse=True)
def _two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "linux":
        monkeypatch.setattr(parallel, "count_workers", lambda: 2)


def draw_all(pictures: Mapping[str, Draw], material: Material, forms: Collection[str] = ("svg",)) -> dict[str, str]:
    """Draws; returns the picture's title or the reason by name."""
    with drawing(pictures, material, forms) as wait:
        images = wait()
    return {name: drawn.title if isinstance(drawn, Image) else drawn for name, drawn in images.items()}


def report_process(material: Material) -> Picture:
    """Draws nothing; the reason names the process, and whether it heeds Ctrl-C."""
    if os.getpid() != TESTS:
        os.kill(os.getpid(), signal.SIGINT)
    raise NoDataError(str(os.getpid()), "drew")


def die(material: Material) -> Picture:
    if os.getpid() != TESTS:
        os._exit(9)
    return PICTURES["training-curves"](material)


def divide_by_zero(material: Material) -> Picture:
    raise ZeroDivisionError("by nothing")


TESTS = os.getpid()


def test_a_picture_without_data_is_left_out_and_it_is_said_why(material: Material) -> None:
    with drawing(PICTURES, material, ["svg"]) as wait:
        images = wait()
    assert list(images) == NAMES
    assert images["accuracy-cost"] == str(NoDataError("speed"))
    for name in ("accuracies", "accuracy-iterations", "training-curves"):
        drawn = images[name]
        assert isinstance(drawn, Image)
        assert list(drawn.files) == ["svg"]


def test_a_picture_that_cannot_be_drawn_takes_no_other_with_it(material: Material) -> None:
    drawn = draw_all({"odd": divide_by_zero, **PICTURES}, material)
    assert list(drawn) == ["odd", *NAMES]
    assert "ZeroDivisionError: by nothing" in drawn["odd"]
    assert drawn["training-curves"] == PICTURES["training-curves"](material).title


@pytest.mark.parametrize(
    "workers", [0, 2, pytest.param(1, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow)]
)
def test_the_pictures_are_the_same_with_any_number_of_workers(
    material: Material, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "count_workers", lambda: workers if sys.platform == "linux" else 0)
    with drawing(PICTURES, material, ["png", "svg"]) as wait:
        images = wait()
    drawn = {name: render_image(PICTURES[name](material), ["png", "svg"]) for name in NAMES if name != "accuracy-cost"}
    assert {name: result for name, result in images.items() if isinstance(result, Image)} == drawn
    assert list(images) == NAMES


@FORKS
def test_workers_draw_and_an_interrupt_is_not_for_them(material: Material) -> None:
    drawn = draw_all({"first": report_process, "second": report_process}, material)
    assert not {str(NoDataError(str(os.getpid()), "drew"))}.intersection(drawn.values())
    assert all(reason.endswith(" drew") for reason in drawn.values())


def test_a_picture_whose_worker_dies_is_drawn_here(material: Material) -> None:
    drawn = draw_all({"deadly": die, **PICTURES}, material)
    assert list(drawn) == ["deadly", *NAMES]
    assert drawn["deadly"] == drawn["training-curves"] == PICTURES["training-curves"](material).title


def test_without_a_format_nothing_is_drawn(material: Material) -> None:
    assert draw_all({"never": die}, material, []) == {}


def wait_forever(material: Material) -> Picture:
    while True:
        time.sleep(0.01)


@FORKS
def test_an_interrupted_block_leaves_no_worker(material: Material) -> None:
    others, workers = set(multiprocessing.active_children()), []

    def interrupt() -> None:
        with drawing({"endless": wait_forever}, material, ["svg"]):
            workers.extend(set(multiprocessing.active_children()) - others)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert len(workers) == 1
    assert set(multiprocessing.active_children()) <= others


@FORKS
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Each worker holds its standard output open until it ends."""
    Store(tmp_path).write(make_record(make_capsules()))
    script = """
import os, signal, sys, time
from capsbench.presenting.material import Material
from capsbench.records.store import Store
from capsbench.reporting.parallel import drawing

def draw(material):
    os.write(1, b"drawing\\n")  # one write: two workers print at the same time
    time.sleep(3600)

store = Store(sys.argv[1])
with drawing({"one": draw, "two": draw}, Material.from_records(store.records()[0], store), ["svg"]):
    time.sleep(3600)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        first = parent.stdout.readline()
        parent.kill()
        assert first == "drawing\n"
        assert set(parent.stdout.read().splitlines()) <= {"drawing"}  # its end comes once all workers have ended
