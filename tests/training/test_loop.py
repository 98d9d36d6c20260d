"""Tests of the training loop: reproducibility, learning, options of speed and the first batch."""

import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn

from capsbench.data.images import Batch, Images, Splits
from capsbench.training.evaluate import compute_scores
from capsbench.training.loop import draw_order, make_first_batch, train
from capsbench.training.losses import MarginLoss
from capsbench.training.step import TrainingStep
from tests.training.networks import Line

FEW = dict(train_size=64, epochs=2, batch=32)


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


# The first batch


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


def test_balanced_draws_take_each_class_equally_often_and_others_each_image_once(make_cell):
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    plain = draw_order(make_cell(), labels, torch.Generator().manual_seed(0))
    assert plain.sort().values.equal(torch.arange(1000))
    assert plain.equal(torch.randperm(1000, generator=torch.Generator().manual_seed(0)))
    balanced = make_cell(balanced=True)
    order = draw_order(balanced, labels, torch.Generator().manual_seed(0))
    counts = labels[order].bincount()
    assert len(order) == 1000
    assert (counts - 1000 / 3).abs().max() < 4 * (1000 * 2 / 9) ** 0.5  # four standard deviations
    assert order.equal(draw_order(balanced, labels, torch.Generator().manual_seed(0)))
    assert balanced.id != make_cell().id
