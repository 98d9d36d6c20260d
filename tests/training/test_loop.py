"""Tests of the training loop: reproducibility, learning, the learning rate and the end of training."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from capsbench.data.base import load_splits
from capsbench.data.images import Batch, Images, Splits
from capsbench.errors import TrainingFailed
from capsbench.networks.build import build_network
from capsbench.training.evaluate import compute_scores, match_labels, predict_classes
from capsbench.training.loop import Progress, make_first_batch, train
from capsbench.training.losses import MarginLoss
from capsbench.training.step import TrainingStep

FEW = dict(train_size=64, epochs=2, batch=32)


@pytest.fixture(scope="module")
def digits():
    return load_splits("digits", Path(), train_size=64)


@pytest.fixture(scope="module")
def blank():
    """Ten 2x2 images of class 0 in every split."""
    images = Images(torch.zeros(10, 1, 2, 2), torch.zeros(10, dtype=torch.int64))
    return Splits(images, images, images)


@pytest.fixture
def make_network():
    """The network of a cell, its weights drawn from the cell's seed."""

    def make(cell):
        torch.manual_seed(cell.seed)
        return build_network(cell)

    return make


class Line(nn.Module):
    """Two logits, a plain linear function of the first pixel."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 2)

    def forward(self, images):
        return self.layer(images[:, 0, 0, :1])


# The same again


@pytest.mark.parametrize("routing", ["dynamic", "em"])
def test_the_same_cell_gives_the_same_weights_to_the_last_bit(make_cell, make_network, digits, routing):
    cell = make_cell(routing=routing, **FEW)
    networks = [make_network(cell), make_network(cell)]
    histories = [train(cell, network, digits) for network in networks]
    first, second = (network.state_dict() for network in networks)
    for name in first:
        assert torch.equal(first[name], second[name]), name
    timeless = [[{**epoch, "seconds": None} for epoch in history] for history in histories]
    assert timeless[0] == timeless[1]


def test_another_seed_gives_other_weights(make_cell, make_network, digits):
    trained = []
    for seed in (0, 1):
        cell = make_cell(seeds=seed, **FEW)
        trained.append(make_network(cell))
        train(cell, trained[-1], digits)
    assert not torch.equal(*(network.classes.weights for network in trained))


def test_every_network_of_a_seed_sees_the_same_images_in_the_same_order(make_cell, make_network, digits):
    def collect_batches(**request):
        cell = make_cell(shift=1, **FEW, **request)
        network, seen = make_network(cell), []
        first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
        first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]) if module.training else None)
        train(cell, network, digits)
        return torch.cat(seen)

    capsules = collect_batches(routing="dynamic")
    assert capsules.shape == (2 * 64, 1, 8, 8)
    assert torch.equal(capsules, collect_batches(routing="em"))
    assert torch.equal(capsules, collect_batches(network="cnn-hinton2018"))
    assert not torch.equal(capsules, collect_batches(routing="dynamic", seeds=1))


def test_the_order_of_the_data_does_not_depend_on_its_augmentation(make_cell):
    def collect_order(**request):
        images = torch.arange(64.0).reshape(64, 1, 1, 1).expand(64, 1, 8, 8) / 64
        data, network, seen = Images(images, torch.zeros(64, dtype=torch.int64)), Line(), []
        network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]) if module.training else None)
        train(make_cell(network="cnn-hinton2018", **FEW, **request), network, Splits(data, data, data))
        return (torch.cat(seen)[:, 0, 4, 4] * 64).round()

    assert torch.equal(collect_order(shift=0), collect_order(shift=1))


def test_an_epoch_holds_every_image_once_in_an_order_of_its_own(make_cell):
    images = Images(
        torch.arange(64.0).reshape(64, 1, 1, 1).expand(64, 1, 8, 8) / 64, torch.zeros(64, dtype=torch.int64)
    )
    network, seen = Line(), []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]) if module.training else None)
    train(make_cell(network="cnn-hinton2018", shift=0, **FEW), network, Splits(images, images, images))
    first, second = (torch.cat(seen)[:, 0, 0, 0] * 64).long().split(64)
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(64))
    assert first.tolist() != second.tolist()


def test_the_test_images_are_never_touched(make_cell, make_network, digits):
    cell = make_cell(**FEW)
    assert len(train(cell, make_network(cell), replace(digits, test=None))) == cell.epochs


# What is learnt


@pytest.mark.parametrize("routing", ["dynamic", "em", "uniform"])
def test_the_loss_falls(make_cell, make_network, digits, routing):
    cell = make_cell(routing=routing, loss="cross-entropy", train_size=64, epochs=4, batch=16, shift=0)
    history = train(cell, make_network(cell), digits)
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4]
    assert history[-1]["loss"] < history[0]["loss"]


def test_the_reconstruction_weighs_the_sum_of_squared_errors_of_an_image(make_cell, make_network):
    cell = make_cell(reconstruction_weight=0.25)
    network = make_network(cell)
    network.classes.weights.data *= 30  # long class poses, so that it matters which one is decoded
    images, labels = torch.rand(3, 1, 8, 8), torch.tensor([4, 0, 9])
    with torch.no_grad():
        poses, activations = network.capsules(images)
        decoded = network.decoder(poses, labels)
        squared = sum(((decoded[i] - images[i]) ** 2).sum() for i in range(3)) / 3
        expected = MarginLoss(capsules=True)(activations, labels, 0.5) + 0.25 * squared
    assert TrainingStep(cell, network)(Batch(images, labels), 0.5).item() == pytest.approx(expected.item())


def test_the_loss_of_an_epoch_is_the_mean_over_its_images(make_cell, digits):
    images, labels = digits.train.images[:, :, 4:], digits.train.labels % 2
    cell = make_cell(network="cnn-hinton2018", optimizer="sgd", lr=1e-12, shift=0, epochs=1, batch=60)
    network = Line()
    expected = nn.functional.cross_entropy(network(images), labels)  # of batches of 60 and 4 images
    data = Images(images, labels)
    assert train(cell, network, Splits(data, data, data))[0]["loss"] == pytest.approx(expected.item())


def test_a_larger_weight_of_the_reconstruction_makes_better_images(make_cell, make_network, digits):
    def measure_error(weight):
        cell = make_cell(train_size=64, epochs=4, batch=16, shift=0, reconstruction_weight=weight)
        network = make_network(cell)
        train(cell, network, digits)
        images, labels = digits.train
        with torch.no_grad():
            return (network.decoder(network.capsules(images).poses, labels) - images).square().sum(dim=(1, 2, 3)).mean()

    assert measure_error(0.1) < 0.8 * measure_error(0.0)


def test_clipping_shortens_the_step_and_keeps_its_direction(make_cell, make_network, digits):
    def take_clipped_step(clip):
        cell = make_cell(optimizer="sgd", lr=1.0, clip=clip, precision="float64")
        network = make_network(cell)
        before = nn.utils.parameters_to_vector(network.parameters()).detach().clone()
        TrainingStep(cell, network)(Batch(digits.train.images.double(), digits.train.labels), 0.5)
        return nn.utils.parameters_to_vector(network.parameters()).detach() - before

    free, clipped = take_clipped_step(0.0), take_clipped_step(1e-4)
    assert free.norm() > 1e-3
    torch.testing.assert_close(clipped, free * (1e-4 / free.norm()), rtol=0.01, atol=1e-9)
    torch.testing.assert_close(take_clipped_step(1e4), free)


# The learning rate


@pytest.fixture
def collect_rates(blank):
    """Returns a function that trains on ten images and returns the learning rate of every step and the history."""

    def rates(cell):
        rates = []
        handle = register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
        try:
            history = train(cell, Line(), blank)
        finally:
            handle.remove()
        return rates, history

    return rates


def test_a_constant_learning_rate(make_cell, collect_rates):
    rates, _ = collect_rates(make_cell(network="cnn-hinton2018", schedule="constant", lr=0.1, epochs=3, batch=5))
    assert rates == [0.1] * 6


def test_an_exponential_learning_rate_decays_by_its_factor_every_epoch(make_cell, collect_rates):
    cell = make_cell(network="cnn-hinton2018", schedule="exponential", decay=0.5, lr=0.1, epochs=3, batch=5)
    rates, _ = collect_rates(cell)
    assert rates == pytest.approx([0.1 * 0.5 ** (step / 2) for step in range(6)])


@pytest.mark.parametrize("batch", [1, 5, 10])
def test_a_one_cycle_learning_rate_rises_to_its_peak_and_ends_at_nearly_nothing(make_cell, collect_rates, batch):
    cell = make_cell(network="cnn-hinton2018", schedule="one-cycle", lr=0.1, epochs=20, batch=batch)
    rates, history = collect_rates(cell)
    peak = rates.index(max(rates))
    assert len(rates) == 20 * 10 / batch
    assert rates[0] == pytest.approx(0.1 / 25)
    assert rates[peak] == pytest.approx(0.1)
    assert peak == pytest.approx(0.3 * len(rates), abs=1)
    assert rates[-1] < 1e-6
    assert history[-1]["learning_rate"] < 0.001


# How it ends


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


class Scripted(nn.Module):
    """Classifies a given share of ten images correctly after each epoch, and counts epochs in its state."""

    def __init__(self, accuracies):
        super().__init__()
        self.accuracies = accuracies
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    def forward(self, images):
        if self.training:
            return self.weight * torch.ones(len(images), 2)
        right = torch.arange(len(images)) < self.accuracies[self.epochs] * len(images)
        self.epochs += 1
        return torch.stack([right.float(), 1 - right.float()], dim=1)


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
    reports: list[Progress] = []
    cell = make_cell(network="cnn-hinton2018", epochs=2, batch=10)
    history = train(cell, Scripted([0.5, 0.75]), blank, reports.append)
    assert [progress.done for progress in reports] == [0.5, 1.0]
    assert [progress.epoch for progress in reports] == [1, 2]
    assert [progress.loss for progress in reports] == [epoch["loss"] for epoch in history]
    assert [progress.validation.value for progress in reports] == [epoch["validation_accuracy"] for epoch in history]


# Scores


def test_scores_are_taken_in_evaluation_mode_whatever_the_batch(make_cell):
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(4))
    images = torch.rand(7, 1, 2, 2)
    torch.testing.assert_close(
        compute_scores(make_cell(batch=3), network, images), images.flatten(1) / (1 + 1e-5) ** 0.5
    )


# Options of speed


def take_losses(cell, make_network, digits, steps=3):
    take_step = TrainingStep(cell, make_network(cell))
    return [float(take_step(Batch(*digits.train), 0.5)) for _ in range(steps)]


@pytest.mark.parametrize("routing", ["dynamic", "em"])
@pytest.mark.parametrize(
    ("option", "tolerance"),
    [({"precision": "bfloat16"}, 0.02), ({"channels_last": True}, 1e-4), ({"fused_optimizer": True}, 1e-4)],
)
def test_options_of_speed_change_rounding_and_no_more(make_cell, make_network, digits, routing, option, tolerance):
    expected = take_losses(make_cell(routing=routing), make_network, digits)
    assert take_losses(make_cell(routing=routing, **option), make_network, digits) == pytest.approx(
        expected, rel=tolerance
    )


def test_mixed_precision_keeps_parameters_and_scores_in_float32(make_cell, make_network, digits):
    cell = make_cell(routing="em", precision="bfloat16")
    network = make_network(cell)
    seen = []
    network.stem[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    assert compute_scores(cell, network, digits.test.images[:8]).dtype == torch.float32
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert seen == [torch.bfloat16]


def test_channels_last_is_for_convolutions_alone(make_cell, make_network):
    network = make_network(make_cell(routing="em", channels_last=True))
    assert network.stem[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert network.convolutional[0].weights.is_contiguous()


@pytest.mark.slow  # two dozen C++ kernels are compiled
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # of torch.compile's own reading
def test_a_compiled_step_computes_the_same(make_cell, make_network, digits):
    expected = take_losses(make_cell(), make_network, digits)
    assert take_losses(make_cell(compile="default"), make_network, digits) == pytest.approx(expected, rel=1e-4)


def test_a_decay_can_be_spread_over_any_number_of_steps(make_cell, collect_rates):
    cell = make_cell(
        network="cnn-hinton2018", schedule="exponential", decay=0.5, decay_steps=4, lr=0.1, epochs=3, batch=5
    )
    rates, _ = collect_rates(cell)
    assert rates == pytest.approx([0.1 * 0.5 ** (step / 4) for step in range(6)])


# Images of several objects


def test_an_image_of_two_objects_is_right_when_both_are_found():
    scores = torch.tensor([[0.9, 0.1, 0.8], [0.9, 0.8, 0.1], [0.2, 0.3, 0.4]])
    labels = torch.tensor([[2, 0], [0, 2], [1, 2]])
    assert predict_classes(scores, labels).tolist() == [[0, 2], [0, 1], [1, 2]]
    assert match_labels(predict_classes(scores, labels), labels).tolist() == [True, False, True]


@pytest.mark.parametrize(("most", "count"), [(None, 32), (5, 5), (100, 64)])
def test_the_first_batch_holds_the_first_images_in_their_order(make_cell, make_network, digits, most, count):
    cell = make_cell(**FEW, shift=0)
    batch = make_first_batch(cell, make_network(cell), digits, most)
    assert torch.equal(batch.images, digits.train.images[:count])
    assert torch.equal(batch.labels, digits.train.labels[:count])


def test_the_first_batch_is_augmented_by_the_seed(make_cell, make_network, digits):
    shifted = [make_cell(**FEW, shift=2, seeds=seed) for seed in (0, 0, 1)]
    first, again, other = (make_first_batch(cell, make_network(cell), digits).images for cell in shifted)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, digits.train.images[:32])
