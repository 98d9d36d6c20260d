"""Kill -9 at random moments of a matrix: nothing finished is lost, and no network is trained twice."""

import os
import random
import signal
import time
from collections import Counter
from itertools import count

import pytest

from capsbench.planning.matrix import plan_cells
from capsbench.records.store import Store
from capsbench.running.events import JobReported, Trained
from capsbench.running.runner import Runner

MATRIX = dict(
    routing="dynamic", iters=[1, 2], seeds=[0, 1], train_size=20, epochs=3, measure="accuracy,affine:quick",
    baseline="none",
)  # fmt: skip


class Log:
    """A listener that writes down each training that ended; its lines stay after a kill."""

    def __init__(self, path):
        self.path = path

    def notify(self, event):
        match event:
            case JobReported(cell, Trained()):
                with self.path.open("a") as file:
                    file.write(f"{cell.id}\n")


def run(folder):
    Runner(plan_cells(MATRIX), Store(folder / "out"), folder, Log(folder / "trained")).run()


def start_run(folder):
    """Starts a run in a process that shares what this one has imported."""
    child = os.fork()
    if child == 0:
        try:
            run(folder)
            os._exit(0)
        finally:
            os._exit(1)
    return child


def list_numbers(store):
    records, faults = store.records()
    assert faults == []
    taken = [(record.cell.id, spec, taken) for record in records for spec, taken in record.measures.items()]
    return {(cell_id, spec, row) for cell_id, spec, taken in taken for row in taken.rows}


def check_finished(folder):
    """Checks a folder whose last run was not killed."""
    records, _ = Store(folder / "out").records()
    assert [record.status for record in records] == ["finished"] * 4
    assert set(Counter((folder / "trained").read_text().split()).values()) == {1}


@pytest.mark.usefixtures("in_one_process")
@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_no_finished_measure_is_lost_and_no_network_trained_twice(tmp_path, kills):
    for name in ("first", "unharmed"):
        (tmp_path / name).mkdir()
    run(tmp_path / "first")  # here, so that no later run imports and compiles anew
    began = time.monotonic()
    os.waitpid(start_run(tmp_path / "unharmed"), 0)
    longest, moments, killed = time.monotonic() - began, random.Random(0), 0
    for number in count():
        folder, numbers, finished = tmp_path / str(number), set(), False
        folder.mkdir()
        while not finished:
            child = start_run(folder)
            if killed < kills:
                time.sleep(moments.uniform(0, longest / 3))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            killed += os.WIFSIGNALED(status)
            finished = os.WIFEXITED(status)
            assert not finished or os.WEXITSTATUS(status) == 0
            before, numbers = numbers, list_numbers(Store(folder / "out"))
            assert before <= numbers
        check_finished(folder)
        if killed >= kills:
            return
