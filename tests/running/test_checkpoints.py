"""Checkpoints on disk: which training goes on from which file, and what an interrupted training leaves."""

import json
import math
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import capsbench
from capsbench.cli.main import main
from capsbench.data.base import load_splits
from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.networks.build import build_network
from capsbench.planning.matrix import PlannedCell
from capsbench.records.artifacts import read_sealed, write_sealed
from capsbench.records.store import Store
from capsbench.running import checkpoints
from capsbench.running.cell_job import run_cell
from capsbench.running.checkpoints import CheckpointFile, count_epochs
from capsbench.running.events import Checkpointed, Remarked, Resumed, Trained
from capsbench.running.executors.base import Place
from capsbench.running.state import record_training
from capsbench.training.loop import EpochEnded, train

REQUEST = dict(network="cnn-hinton2018", train_size=40, batch=20, epochs=3, seeds=0, device="cpu", measure="cost")


@pytest.fixture
def cell(make_cell):
    return make_cell(**REQUEST)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.fixture(scope="module")
def digits():
    return load_splits("digits", Path(), train_size=40)


class Interrupted(Exception):
    """Raised in the place of a kill."""


def train_until(epoch, cell, data, store, seconds=0.0, digest="0123"):
    """Trains a cell up to the end of an epoch, and returns its checkpoints and what they sent."""
    events = []

    def end(event):
        if isinstance(event, EpochEnded) and event.entry["epoch"] > epoch:
            raise Interrupted

    file = CheckpointFile(cell, digest, store, seconds, events.append)
    torch.manual_seed(cell.seed)
    network = build_network(cell)
    with suppress(Interrupted):
        train(cell, network, data, end, file)
    return network, file, events


# Writing


def test_a_checkpoint_is_written_after_each_epoch_if_nothing_is_between(cell, digits, store):
    _, file, events = train_until(2, cell, digits, store)
    (path,) = {store.folder / event.checkpoint.path for event in events}
    assert [type(event) for event in events] == [Checkpointed] * 2
    assert path == store.checkpoint_path(cell.id) == file.path
    with safe_open(path, "pt") as opened:
        assert json.loads(opened.metadata()["origin"])["cell"] == cell.id


@pytest.mark.parametrize(("times", "written"), [([0, 1, 59.9], 0), ([0, 61, 62, 63], 1), ([0, 70, 129, 131], 2)])
def test_a_checkpoint_is_written_once_a_minute(cell, digits, store, monkeypatch, times, written):
    clock, events = [0.0], []
    checkpoint = train_until(1, cell, digits, store, seconds=math.inf)[1].held.checkpoint
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    file = CheckpointFile(cell, "0123", store, 60.0, events.append)
    for clock[0] in times:
        file.save(checkpoint)
    assert len(events) == written


def test_a_full_disk_is_told_once_and_the_training_goes_on(cell, digits, store, monkeypatch):
    def refuse(path, *content):
        raise StorageFailed(f"{path}: cannot be written: No space left on device")

    monkeypatch.setattr(checkpoints, "write_sealed", refuse)
    _, file, events = train_until(3, cell, digits, store)
    assert [type(event) for event in events] == [Remarked]
    assert "No space left" in events[0].remark
    assert file.held.checkpoint.course.epoch == 3


@pytest.mark.parametrize("seconds", [-1, -1e-9, math.nan])
@pytest.mark.parametrize("call", [capsbench.run, capsbench.tune, partial(capsbench.decide, "em,dynamic")])
def test_a_time_below_0_is_refused(tmp_path, call, seconds):
    with pytest.raises(UsageError) as caught:
        call(out=tmp_path, checkpoint_seconds=seconds)
    assert (caught.value.kind, caught.value.flag) == (Kind.INVALID, "checkpoint_seconds")


@pytest.mark.parametrize(("flags", "seconds"), [([], 60.0), (["--checkpoint-seconds", "0.5"], 0.5)])
def test_the_flag_reaches_the_run(monkeypatch, tmp_path, flags, seconds):
    seen = {}

    def refuse(*arguments, **facts):
        seen.update(facts)
        raise UsageError(Kind.BUSY)

    monkeypatch.setattr("capsbench.running.machines.choose_runner", lambda executor: refuse)
    monkeypatch.setattr("sys.argv", ["capsbench", "run", "--routing", "em", "--seeds", "0", *flags])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main()
    assert seen["checkpoint_seconds"] == seconds


# Going on


def test_without_a_checkpoint_a_training_starts_silently(cell, digits, store):
    assert train_until(0, cell, digits, store, seconds=math.inf)[2] == []


def test_a_training_goes_on_with_the_bits_of_an_uninterrupted_one(cell, digits, store):
    expected = train_until(3, cell, digits, store, seconds=math.inf)[0].state_dict()
    for epoch in (1, 2, 3):
        train_until(epoch, cell, digits, store)
    network, _, events = train_until(3, cell, digits, store)
    assert events == [Resumed(3, 3)]
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())


def cut(path):
    path.write_bytes(path.read_bytes()[:-8])


def empty(path):
    path.write_bytes(b"")


def flip_a_weight(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def flip_a_number(path):
    content = path.read_bytes()
    path.write_bytes(content.replace(b'\\"loss\\", ', b'\\"loss\\",-', 1))


def replace_by_weights(path):
    save_file({"weight": torch.zeros(2)}, path)


def replace_by_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def rewrite(**texts):
    """Returns what writes other texts into a whole file."""

    def change(path):
        tensors, before = read_sealed(path)
        write_sealed(path, tensors, {**{name: before[name] for name in ("origin", "state")}, **texts})

    return change


def change_origin(**facts):
    def change(path):
        origin = json.loads(read_sealed(path)[1]["origin"])
        rewrite(origin=json.dumps({**origin, **facts}))(path)

    return change


def give_other_weights(path):
    tensors, texts = read_sealed(path)
    write_sealed(path, {**tensors, next(name for name in tensors if "network" in name): torch.zeros(2)}, texts)


UNFIT = {
    "cut": cut,
    "empty": empty,
    "a bit of a weight": flip_a_weight,
    "a number of the history": flip_a_number,
    "other tensors": replace_by_weights,
    "a pipe": replace_by_a_pipe,
    "no state": rewrite(state="{}"),
    "no JSON": rewrite(state="{"),
    "odd origin": rewrite(origin='{"schema": 1}'),
    "another layout": change_origin(schema=2),
    "another cell": change_origin(cell="0123456789ab"),
    "another version": change_origin(versions={"training": 0}),
    "other data": change_origin(data="4567"),
    "other weights": give_other_weights,
}


@pytest.mark.parametrize("spoil", UNFIT.values(), ids=UNFIT)
def test_a_checkpoint_that_does_not_fit_is_told_and_the_training_starts_over(cell, digits, store, spoil):
    train_until(1, cell, digits, store)
    path = store.checkpoint_path(cell.id)
    spoil(path)
    events = []
    file = CheckpointFile(cell, "0123", store, 0.0, events.append)
    assert file.load(build_network(cell)) is None
    assert [type(event) for event in events] == [Remarked]
    assert str(path) in events[0].remark
    assert len(file.list_segments(0)) == 1


# Segments


@pytest.mark.parametrize("spoil", [empty, replace_by_weights, replace_by_a_pipe, Path.unlink])
def test_a_checkpoint_tells_its_epochs_without_being_read_whole(cell, digits, store, spoil):
    _, file, _ = train_until(2, cell, digits, store)
    assert count_epochs(file.path) == 2
    spoil(file.path)
    assert count_epochs(file.path) == 0


def test_an_interrupted_training_lists_its_parts(cell, store, monkeypatch):
    monkeypatch.setattr(checkpoints, "provenance", lambda: {"cpu": "the first"})
    events = []

    def end(event):
        events.append(event)
        if isinstance(event, EpochEnded) and event.entry["epoch"] == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_cell(PlannedCell(cell), [], None, 0.0, Place(store, Path()), end)
    monkeypatch.setattr(checkpoints, "provenance", lambda: {"cpu": "the second"})
    run_cell(PlannedCell(cell), [], None, 0.0, Place(store, Path()), events.append)
    (trained,) = (event for event in events if isinstance(event, Trained))
    first, second = trained.segments
    assert (first.epochs, second.epochs) == (2, 1)
    assert (first.provenance, second.provenance) == ({"cpu": "the first"}, {"cpu": "the second"})
    assert trained.started == first.started <= second.started
    assert trained.seconds == pytest.approx(first.seconds + second.seconds)
    assert [row.value for row in trained.rows if row.metric == "duration"] == [trained.seconds]
    seconds = [entry["seconds"] for entry in trained.history]
    assert seconds == sorted(seconds)
    store.write(record_training(PlannedCell(cell), trained))
    assert store.read(cell.id).training.segments == trained.segments


def test_an_uninterrupted_training_has_no_parts(cell, store):
    events = []
    run_cell(PlannedCell(cell), [], None, 0.0, Place(store, Path()), events.append)
    assert [event.segments for event in events if isinstance(event, Trained)] == [[]]
