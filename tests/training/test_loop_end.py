"""How a training ends: by a failure, by its patience, at its target or after its last epoch."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest

from capsbench.data.images import Images
from capsbench.errors import TrainingFailed
from capsbench.training import loop
from capsbench.training.loop import EpochEnded, Progress, train
from capsbench.training.step import TrainingStep
from tests.training.networks import Line, Scripted


def test_a_loss_that_is_not_finite_fails_the_cell_and_names_the_epoch(make_cell, blank):
    class Breaks(Line):
        steps = 0

        def forward(self, images):
            self.steps += self.training
            return super().forward(images) * (float("nan") if self.steps == 4 else 1.0)

    cell = make_cell(network="cnn-hinton2018", epochs=3, batch=5)
    with pytest.raises(TrainingFailed) as caught:
        train(cell, Breaks(), blank)
    assert all(fact in str(caught.value) for fact in ("nan", "epoch 2", "5 of its images"))


def test_an_absurd_learning_rate_fails_the_cell(make_cell, make_network, digits):
    cell = make_cell(lr=1e30, schedule="constant", train_size=64, epochs=3, batch=16)
    with pytest.raises(TrainingFailed) as caught:
        train(cell, make_network(cell), digits)
    assert all(fact in str(caught.value) for fact in ("nan", "epoch 1"))


def test_a_gradient_that_is_not_finite_fails_the_cell_too(make_cell, blank):
    """The gradient makes the weights NaN, and after the last step no further loss reveals them."""

    class Root(Line):
        def forward(self, images):
            return super().forward(images) + (0 * self.layer.weight.sum()).sqrt()

    with pytest.raises(TrainingFailed) as caught:
        train(make_cell(network="cnn-hinton2018", epochs=1, batch=10), Root(), blank)
    assert "epoch 1" in str(caught.value)


@pytest.mark.parametrize(("patience", "epochs", "kept"), [(2, 4, 2), (3, 6, 6), (0, 6, 6)])
def test_patience_stops_and_keeps_the_weights_of_the_best_epoch(make_cell, blank, patience, epochs, kept):
    network = Scripted([0.5, 0.8, 0.8, 0.7, 0.9, 1.0])
    cell = make_cell(network="cnn-hinton2018", epochs=6, batch=10, patience=patience)
    history = train(cell, network, blank)
    accuracies = [0.5, 0.8, 0.8, 0.7, 0.9, 1.0][:epochs]
    assert [epoch["validation_accuracy"] for epoch in history] == pytest.approx(accuracies)
    assert network.epochs == kept


@pytest.mark.parametrize(("stop_at", "epochs"), [(0.79, 2), (0.9, 5), (1.0, 6), (0.0, 6)])
def test_training_stops_at_the_accuracy_asked_for_with_the_weights_of_that_epoch(make_cell, blank, stop_at, epochs):
    network = Scripted([0.5, 0.8, 0.8, 0.7, 0.9, 0.95])
    history = train(make_cell(network="cnn-hinton2018", epochs=6, batch=10, stop_at=stop_at), network, blank)
    assert len(history) == network.epochs == epochs


@pytest.mark.parametrize(("asked", "validated"), [({}, [2, 4, 5]), ({"patience": 5}, [1, 2, 3, 4, 5])])
def test_few_images_are_not_validated_more_often_than_they_are_trained_on(make_cell, blank, asked, validated):
    half = replace(blank, train=Images(*(tensor[: len(blank.validation.labels) // 2] for tensor in blank.train)))
    network = Scripted([0.5] * 5)
    history = train(make_cell(network="cnn-hinton2018", epochs=5, batch=10, **asked), network, half)
    assert [epoch["epoch"] for epoch in history if "validation_accuracy" in epoch] == validated


def test_patience_keeps_the_best_epoch_of_a_training_that_was_not_stopped(make_cell, blank):
    network = Scripted([0.5, 0.8, 0.7])
    train(make_cell(network="cnn-hinton2018", epochs=3, batch=10, patience=5), network, blank)
    assert network.epochs == 2


def test_without_patience_the_last_weights_are_kept(make_cell, blank):
    network = Scripted([0.9, 0.8, 0.7])
    train(make_cell(network="cnn-hinton2018", epochs=3, batch=10), network, blank)
    assert network.epochs == 3


def test_progress_is_told_after_every_epoch(make_cell, blank):
    events: list[Progress | EpochEnded] = []
    cell = make_cell(network="cnn-hinton2018", epochs=2, batch=10)
    history = train(cell, Scripted([0.5, 0.75]), blank, events.append)
    assert [event.entry for event in events if isinstance(event, EpochEnded)] == history
    reports = [event for event in events if isinstance(event, Progress)]
    assert [progress.done for progress in reports] == [0.5, 1.0]
    assert [progress.epoch for progress in reports] == [1, 2]
    assert [progress.loss for progress in reports] == [epoch["loss"] for epoch in history]
    assert [progress.validation.value for progress in reports] == [epoch["validation_accuracy"] for epoch in history]


def test_progress_is_told_within_an_epoch_after_some_time(make_cell, blank, monkeypatch):
    """By a clock that goes on by an eighth of a second whenever it is read: once a step, after a report and after an epoch."""
    clock = itertools.count(step=0.1251)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    events = []
    cell = make_cell(network="cnn-hinton2018", epochs=2, batch=5)
    history = train(cell, Line(), blank, events.append)
    assert [entry["seconds"] for entry in history] == [0.375, 0.876]  # the third reading and the seventh
    reports = [(event.epoch, event.done) for event in events if isinstance(event, Progress)]
    assert reports == [(1, 0.5), (2, 0.5), (2, 1.0)]


def test_each_step_is_told_how_much_of_the_training_is_done(make_cell, blank, monkeypatch):
    told = []

    class Noting(TrainingStep):
        def __call__(self, batch, done):
            told.append((len(batch.labels), done))
            return super().__call__(batch, done)

    monkeypatch.setattr(loop, "TrainingStep", Noting)
    train(make_cell(network="cnn-hinton2018", epochs=2, batch=4), Line(), blank)
    assert told == [(size, pytest.approx(step / 6)) for step, size in enumerate([4, 4, 2] * 2)]
