"""Trainings that go on from a checkpoint: the same bits as without an interruption, whatever a training draws or keeps."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from capsbench.data.augment import Crop, Flip, Jitter
from capsbench.data.base import load_splits
from capsbench.data.images import Augmentation, Images, Splits
from capsbench.networks.build import build_network
from capsbench.training.checkpoint import Checkpoint, MovingParts
from capsbench.training.loop import EpochEnded, make_schedule, train
from capsbench.training.step import make_optimizer
from tests.training.networks import Scripted

EPOCHS = 3
QUICK = dict(epochs=EPOCHS, batch=16)


@pytest.fixture(scope="module")
def digits():
    return load_splits("digits", Path(), train_size=40)


class Held:
    """Holds every checkpoint in memory."""

    def __init__(self):
        self.checkpoints = []

    def load(self, network):
        return None

    def save(self, checkpoint):
        self.checkpoints.append(checkpoint)


class Kept:
    """Keeps every checkpoint as its file does, as JSON and tensors."""

    def __init__(self, start=None):
        self.start = start
        self.files = []

    def load(self, network):
        return self.start and read(self.start)

    def save(self, checkpoint):
        plain, tensors = checkpoint.to_parts()
        self.files.append((json.dumps(plain), {name: tensor.contiguous() for name, tensor in tensors.items()}))


def read(file):
    plain, tensors = file
    return Checkpoint.from_parts(json.loads(plain), {name: tensor.clone() for name, tensor in tensors.items()})


def seed_all(seed):
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def train_from(start, cell, make, data):
    """Trains from a file of `Kept`, in a process that may have drawn any numbers before."""
    network = make(cell)
    if start:
        seed_all(7)
        for parameter in network.parameters():
            parameter.data.normal_()
    kept = Kept(start)
    history = train(cell, network, data, checkpoints=kept)
    return network.state_dict(), [{**entry, "seconds": None} for entry in history], kept.files


def make_network(cell):
    seed_all(cell.seed)
    return build_network(cell)


def check_every_epoch(cell, data, make=make_network):
    """Checks that a training interrupted after any of its epochs ends with the bits of an uninterrupted one."""
    state, history, files = train_from(None, cell, make, data)
    assert len(files) == len(history)
    seed_all(cell.seed)
    plain = make(cell)
    train(cell, plain, data)  # without checkpoints
    assert_same(plain.state_dict(), state)
    for start in files:
        resumed, again, later = train_from(start, cell, make, data)
        assert_same(resumed, state)
        assert again == history
        assert len(later) == len(history) - read(start).course.epoch
    return history


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name


# Every kind of state


@pytest.mark.parametrize(
    "request_",
    [
        dict(routing="dynamic", optimizer="adam", schedule="one-cycle", shift=2),
        dict(routing="em", optimizer="adamw", schedule="exponential", warp="affnist"),
        dict(network="cnn-hinton2018", optimizer="sgd", schedule="constant", clip=0.1),
        dict(network="capsnet-hahn2019", precision="bfloat16"),
        dict(routing="em", channels_last=True, fused_optimizer=True),
        dict(network="transforming-autoencoder", patience=2),
    ],
    ids=lambda request: "-".join(map(str, request.values())),
)
def test_a_training_goes_on_with_the_same_bits(make_cell, digits, request_):
    check_every_epoch(make_cell(**QUICK, **request_), digits)


class Dropping(nn.Module):
    """A network with dropout, which draws from torch's own generator, and with running statistics."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.LazyLinear(16), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 10)
        )
        self.layers(torch.rand(2, 1, 8, 8))

    def forward(self, images):
        return self.layers(images)


class Noise(Augmentation):
    """Draws from everywhere but from the numbers that it gets."""

    draws = 0

    def __call__(self, batch, drawn, train):
        noise = torch.rand_like(batch.images) + np.random.random() + np.random.normal() + random.gauss(0.0, 1.0)
        return batch._replace(images=batch.images + 0.1 * noise)


@pytest.mark.parametrize(
    "augmentations",
    [(), (Crop(8, 8), Flip()), (Jitter(0.1, 0.5),), (Noise(),)],
    ids=["none", "crop and flip", "jitter", "own"],
)
def test_what_augmentations_and_dropout_draw_goes_on(make_cell, digits, augmentations):
    def make(cell):
        seed_all(cell.seed)
        return Dropping()

    images = nn.functional.pad(digits.train.images, (1, 1, 1, 1)) if augmentations[:-1] else digits.train.images
    data = replace(digits, train=digits.train._replace(images=images), augmentations=augmentations)
    check_every_epoch(make_cell(network="cnn-hinton2018", **QUICK), data, make)


@pytest.mark.parametrize(
    ("asked", "epochs"),
    [
        ({"patience": 2}, 4),
        ({"patience": 3}, 6),
        ({"stop_at": 0.9}, 5),
        ({"stop_at": 0.9, "patience": 3}, 5),
        ({}, 6),
    ],
)
def test_an_early_stop_counts_the_epochs_before_the_interruption(make_cell, asked, epochs):
    images = Images(torch.zeros(10, 1, 2, 2), torch.zeros(10, dtype=torch.int64))
    cell = make_cell(network="cnn-hinton2018", epochs=6, batch=10, **asked)
    history = check_every_epoch(
        cell, Splits(images, images, images), lambda cell: Scripted([0.5, 0.8, 0.8, 0.7, 0.9, 1.0])
    )
    assert len(history) == epochs


def test_a_target_reached_keeps_the_weights_of_that_epoch_with_a_patience_too(make_cell):
    images = Images(torch.zeros(10, 1, 2, 2), torch.zeros(10, dtype=torch.int64))
    network = Scripted([0.5, 0.8, 0.9])
    cell = make_cell(network="cnn-hinton2018", epochs=6, batch=10, stop_at=0.9, patience=2)
    train(cell, network, Splits(images, images, images))
    assert network.epochs == 3


# The checkpoint itself


@pytest.fixture
def checkpoints(make_cell, digits):
    """The checkpoints of a training of two epochs, as it made them."""

    held = Held()
    cell = make_cell(network="cnn-hinton2018", epochs=2, batch=20, patience=1)
    train(cell, make_network(cell), digits, checkpoints=held)
    return held.checkpoints


def test_a_checkpoint_does_not_change_while_the_training_goes_on(checkpoints):
    first, second = checkpoints
    assert (first.course.epoch, second.course.epoch) == (1, 2)
    assert not any(torch.equal(tensor, second.network[name]) for name, tensor in first.network.items())
    assert [int(state["step"]) for state in first.optimizer["state"].values()] == [2] * len(first.network)


def test_the_epochs_before_the_interruption_are_told_again(make_cell, digits):
    cell = make_cell(network="cnn-hinton2018", **QUICK)
    _, history, files = train_from(None, cell, make_network, digits)
    events = []
    train(cell, make_network(cell), digits, events.append, Kept(files[0]))
    entries = [event.entry for event in events if isinstance(event, EpochEnded)]
    assert [entry["loss"] for entry in entries] == [entry["loss"] for entry in history]


def test_seconds_go_on_from_those_before_the_interruption(make_cell, digits):
    cell = make_cell(network="cnn-hinton2018", epochs=2, batch=20)
    kept = Kept()
    train(cell, make_network(cell), digits, checkpoints=kept)
    plain, tensors = kept.files[0]
    seconds = read(kept.files[0]).course.seconds
    start = (plain.replace(f'["seconds", {seconds}]', '["seconds", 1000.5]'), tensors)
    history = train(cell, make_network(cell), digits, checkpoints=Kept(start))
    assert history[0]["seconds"] == 1000.5
    assert 1000.5 < history[1]["seconds"] < 2000


def test_a_checkpoint_is_the_same_after_its_file(checkpoints):
    plain, tensors = checkpoints[0].to_parts()
    again = Checkpoint.from_parts(json.loads(json.dumps(plain)), tensors)
    assert again.course.history == checkpoints[0].course.history
    assert again.course.validation == checkpoints[0].course.validation
    assert again.optimizer["param_groups"] == checkpoints[0].optimizer["param_groups"]
    assert isinstance(again.optimizer["param_groups"][0]["betas"], tuple)
    assert again.schedule == checkpoints[0].schedule
    assert again.python == checkpoints[0].python


@pytest.mark.parametrize(
    "value", [math.inf, -math.inf, 0.1 + 0.2, 5e-324, 2**70, True, None, "ü", (1, (2, [3])), {0: {}}]
)
def test_plain_values_come_back_as_they_are(checkpoints, value):
    plain, tensors = replace(checkpoints[0], schedule={"value": value}).to_parts()
    again = Checkpoint.from_parts(json.loads(json.dumps(plain)), tensors).schedule["value"]
    assert (again, type(again)) == (value, type(value))


def test_what_no_file_can_hold_is_refused(checkpoints):
    with pytest.raises(TypeError, match="/schedule/value"):
        replace(checkpoints[0], schedule={"value": object()}).to_parts()


@pytest.mark.parametrize("plain", [None, [], {}, {"dict": []}, {"dict": [["course", 1]]}, {"tensor": "absent"}])
def test_other_values_are_no_checkpoint(plain):
    with pytest.raises(ValueError, match="not a checkpoint"):
        Checkpoint.from_parts(plain, {})


def test_a_checkpoint_fits_its_network_alone(make_cell, checkpoints):
    cell = make_cell(network="cnn-hinton2018")
    assert checkpoints[0].fits(make_network(cell))
    assert not checkpoints[0].fits(make_network(cell).double())
    assert not checkpoints[0].fits(make_network(make_cell()))


def test_the_optimisers_tensors_have_their_layout_again(make_cell, digits):
    cell = make_cell(network="cnn-hinton2018", channels_last=True, epochs=1, batch=20)
    held = Held()
    train(cell, make_network(cell), digits, checkpoints=held)
    (checkpoint,) = held.checkpoints
    network = make_network(cell)
    optimizer = make_optimizer(cell, network)
    generators = torch.Generator(), torch.Generator()
    plain, tensors = checkpoint.to_parts()
    file = (json.dumps(plain), {name: tensor.contiguous() for name, tensor in tensors.items()})
    MovingParts(network, optimizer, make_schedule(cell, optimizer, steps=2), *generators).restore(read(file))
    layouts = [state["exp_avg"].stride() for state in checkpoint.optimizer["state"].values()]
    assert layouts != [parameter.contiguous().stride() for parameter in network.parameters()]
    assert [state["exp_avg"].stride() for state in optimizer.state.values()] == layouts
