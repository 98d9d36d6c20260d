"""Trainings that SIGTERM, Ctrl-C or a kill ends, and runs that find their checkpoints."""

import math
import os
import random
import signal
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from capsbench.planning.matrix import PlannedCell, plan_cells
from capsbench.records.store import Store
from capsbench.running.cell_job import run_cell
from capsbench.running.checkpoints import TERMINATED
from capsbench.running.events import JobReported, Resumed, RunStarted, Trained
from capsbench.running.executors.base import Place
from capsbench.running.runner import Runner
from capsbench.training.loop import EpochEnded

REQUEST = dict(network="cnn-hinton2018", train_size=40, batch=20, epochs=3, seeds=0, device="cpu", measure="cost")


@pytest.fixture
def cell(make_cell):
    return make_cell(**REQUEST)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


# SIGTERM and Ctrl-C


def start_cell(cell, store, seconds, epoch):
    """Trains a cell in a forked process up to the end of an epoch, and returns its number once it waits there."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:

        def wait(event):
            if isinstance(event, EpochEnded) and event.entry["epoch"] == epoch:
                os.write(writer, b".")
                signal.pause()

        try:
            run_cell(PlannedCell(cell), [], None, seconds, Place(store, Path()), wait)
        finally:
            os._exit(0)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    return child


@pytest.mark.parametrize("seconds", [math.inf, 0.0])
def test_sigterm_writes_the_last_epoch_and_the_next_process_goes_on(cell, store, tmp_path, seconds):
    child = start_cell(cell, store, seconds, epoch=3)
    assert store.list_checkpoints() == (set() if seconds else {cell.id})
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == TERMINATED == 143
    events, uninterrupted = [], Store(tmp_path / "uninterrupted")
    run_cell(PlannedCell(cell), [], None, math.inf, Place(store, Path()), events.append)
    assert events[0] == Resumed(2, 3)
    run_cell(PlannedCell(cell), [], None, math.inf, Place(uninterrupted, Path()), events.append)
    assert store.weights_path(cell.id).read_bytes() == uninterrupted.weights_path(cell.id).read_bytes()


def test_sigterm_before_the_end_of_an_epoch_writes_nothing(cell, store):
    child = start_cell(cell, store, 0.0, epoch=1)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == TERMINATED
    assert store.list_checkpoints() == set()


def test_after_the_training_sigterm_means_what_it_meant_before(cell, store):
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def note(event):
        if isinstance(event, EpochEnded | Trained):
            seen.append(signal.getsignal(signal.SIGTERM) is before)

    run_cell(PlannedCell(cell), [], None, 60.0, Place(store, Path()), note)
    assert seen == [False] * 4
    assert signal.getsignal(signal.SIGTERM) is before


class Stopping:
    """A listener that remembers the events of jobs, and presses Ctrl-C at the end of an epoch."""

    def __init__(self, epoch=None):
        self.epoch = epoch
        self.events = []

    def notify(self, event):
        if isinstance(event, JobReported):
            self.events.append(event.event)
            if isinstance(event.event, EpochEnded) and event.event.entry["epoch"] == self.epoch:
                raise KeyboardInterrupt


def run(store, listener, *, fresh=False, **request):
    planned = plan_cells({**REQUEST, "baseline": "none", **request})
    return Runner(planned, store, store.folder, listener, fresh=fresh).run()


def test_ctrl_c_keeps_the_epochs_of_a_process_and_the_same_run_goes_on(store):
    # As many epochs as have no room in the pipe, so that the process waits for whoever reads it.
    assert run(store, Stopping(epoch=3), batch=40, epochs=200).interrupted
    (path,) = store.folder.glob("checkpoints/*")
    listener = Stopping()
    outcome = run(store, listener, batch=40, epochs=200)
    (resumed,) = (event for event in listener.events if isinstance(event, Resumed))
    assert resumed.epoch >= 2
    assert outcome.finished == [path.stem]
    record = store.read(path.stem)
    assert sum(segment.epochs for segment in record.training.segments) == 200
    assert record.training.segments[0].epochs == resumed.epoch
    assert not path.exists()


# What a run makes of the checkpoints of others


@pytest.fixture
def left(in_one_process, store):
    """The checkpoint that a run of a cell left."""
    Runner(plan_cells(REQUEST), store, store.folder, Stopping(epoch=2), checkpoint_seconds=0.0).run()
    (path,) = store.folder.glob("checkpoints/*")
    return path


def test_a_checkpoint_goes_once_the_training_is_on_record(left, store):
    run(store, Stopping())
    assert not left.exists()


def test_a_checkpoint_that_a_kill_left_beside_a_record_goes_at_the_next_run(left, store):
    content = left.read_bytes()
    run(store, Stopping())
    left.write_bytes(content)
    listener = Stopping()
    run(store, listener)
    assert listener.events == []
    assert not left.exists()


def test_a_fresh_run_starts_from_nothing_and_the_next_goes_on_from_it(left, store):
    listener = Stopping(epoch=2)
    planned = plan_cells({**REQUEST, "seeds": "0,1"})
    Runner(planned, store, store.folder, listener, fresh=True, checkpoint_seconds=0.0).run()
    assert not [event for event in listener.events if isinstance(event, Resumed)]
    assert left.exists()
    listener = Stopping()
    run(store, listener)
    assert [event for event in listener.events if isinstance(event, Resumed)] == [Resumed(1, 3)]


def test_measuring_leaves_the_checkpoint_of_a_training_that_goes_on(left, store):
    content = left.read_bytes()
    run(store, Stopping())
    left.write_bytes(content)
    record = store.read(left.stem)
    planned = replace(plan_cells(REQUEST)[0], cell=record.cell)
    Runner([planned], store, store.folder, Stopping(), train=False).run()
    assert left.exists()


# Kill -9


class Log:
    """A listener that says when the run starts, and writes down each epoch that is trained; its lines stay after a kill."""

    def __init__(self, path, pipe):
        self.path, self.pipe, self.before = path, pipe, 0

    def notify(self, event):
        match event:
            case RunStarted():
                os.write(self.pipe, b".")
            case JobReported(_, Resumed(epoch)):
                self.before = epoch  # these epochs are told again, and not trained
            case JobReported(_, EpochEnded(entry)) if entry["epoch"] > self.before:
                with self.path.open("a") as file:
                    file.write(f"{entry['epoch']}\n")


def start_run(planned, folder):
    """Starts a run in a process that shares what this one has imported, and waits until its cells are known."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store = Store(folder / "out")
            Runner(planned, store, folder, Log(folder / "epochs", writer), checkpoint_seconds=0.0).run()
            os._exit(0)
        finally:
            os._exit(1)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    return child


@pytest.mark.usefixtures("in_one_process")
@pytest.mark.parametrize(("kills", "images"), [(2, 40), pytest.param(20, 200, marks=pytest.mark.slow)])
def test_a_training_killed_at_any_moment_ends_with_the_same_bits(tmp_path, kills, images):
    planned = plan_cells({**REQUEST, "epochs": 12, "train_size": images, "shift": 1, "baseline": "none"})
    (tmp_path / "unharmed").mkdir()
    child, began = start_run(planned, tmp_path / "unharmed"), time.monotonic()
    os.waitpid(child, 0)
    longest, moments, killed = time.monotonic() - began, random.Random(0), 0
    (cell_id,) = (job.cell.id for job in planned)
    unharmed = Store(tmp_path / "unharmed" / "out").read(cell_id)
    for number in count():
        folder, before, finished = tmp_path / str(number), killed, False
        folder.mkdir()
        while not finished:
            child = start_run(planned, folder)
            if killed < kills:
                time.sleep(moments.uniform(0, longest / 2))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            killed += os.WIFSIGNALED(status)
            finished = os.WIFEXITED(status)
            assert not finished or os.WEXITSTATUS(status) == 0
        record = Store(folder / "out").read(cell_id)
        assert record.training.weights.sha256 == unharmed.training.weights.sha256
        assert [entry["loss"] for entry in record.history] == [entry["loss"] for entry in unharmed.history]
        assert len((folder / "epochs").read_text().split()) <= 12 + killed - before
        assert sum(segment.epochs for segment in record.training.segments) in (0, 12)  # 0: not interrupted
        assert Store(folder / "out").list_checkpoints() == set()
        if killed >= kills:
            return
