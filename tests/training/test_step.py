"""The objective of a training step: the loss and the reconstruction errors."""

import functools
import math

import pytest
import torch
from torch import nn

from capsbench import registry
from capsbench.data.base import Dataset
from capsbench.data.images import Batch, Images, ImageShape, Splits
from capsbench.networks.build import build_network
from capsbench.training.losses import make_loss
from capsbench.training.step import (
    TrainingStep,
    compute_reconstruction_errors,
    make_objective,
    make_optimizer,
    sum_squared_errors,
    use_precision,
)


class Pairs(Dataset):
    """Noise with two classes per image, as in a user's own data set without augmentation."""

    image = ImageShape(1, 8, 8)
    classes = 4
    labels_an_image = 2

    def load(self, folder):
        part = Images(torch.rand(6, *self.image), torch.tensor([[0, 1], [2, 0], [1, 3]] * 2))
        return Splits(part, part, part)


NETWORKS = ["capsnet", "matrix-capsules", "efficient-capsnet", "capsnet-hahn2019", "capsnet-tsai2020"]


def make_network(cell):
    torch.manual_seed(cell.seed)
    return build_network(cell)


def sum_errors(reconstructions, images):
    return (reconstructions - images).square().sum(dim=(1, 2, 3))


def test_each_of_two_objects_with_targets_is_reconstructed_alone(make_cell):
    network = make_network(make_cell())
    images, labels = torch.rand(2, 1, 8, 8), torch.tensor([[3, 1], [0, 9]])
    targets = torch.rand(2, 2, 1, 8, 8)
    poses = network.capsules(images).poses
    expected = sum(sum_errors(network.decoder(poses, labels[:, k]), targets[:, k]) for k in range(2))
    torch.testing.assert_close(compute_reconstruction_errors(network, poses, Batch(images, labels, targets)), expected)


def test_an_image_of_two_objects_without_targets_is_reconstructed_from_both(make_cell):
    network = make_network(make_cell())
    images, labels = torch.rand(2, 1, 8, 8), torch.tensor([[3, 1], [0, 9]])
    poses = network.capsules(images).poses
    masked = torch.zeros_like(poses)
    for image, classes in enumerate(labels):
        masked[image, classes] = poses[image, classes]
    expected = sum_errors(network.decoder.layers(masked.flatten(1)).unflatten(1, (1, 8, 8)), images)
    torch.testing.assert_close(compute_reconstruction_errors(network, poses, Batch(images, labels)), expected)


def test_labels_in_a_column_are_single_labels(make_cell):
    network = make_network(make_cell())
    images, labels = torch.rand(2, 1, 8, 8), torch.tensor([3, 9])
    poses = network.capsules(images).poses
    column = compute_reconstruction_errors(network, poses, Batch(images, labels.unsqueeze(1)))
    assert torch.equal(compute_reconstruction_errors(network, poses, Batch(images, labels)), column)


@pytest.fixture
def takes_a_step(make_cell, monkeypatch):
    """Returns a function that tells whether a step on images of two labels leaves a finite loss and finite weights."""
    monkeypatch.setitem(registry.BUILT_IN["dataset"], "pairs", f"{__name__}:Pairs")

    def step(**request):
        cell = make_cell(dataset="pairs", batch=6, **request)
        network, part = make_network(cell), Pairs().load(None).train
        loss = TrainingStep(cell, network)(Batch(part.images, part.labels), 0.5)
        return loss.isfinite() and all(parameter.isfinite().all() for parameter in network.parameters())

    return step


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("reconstruction", [True, False])
def test_every_network_trains_on_two_labels_an_image(takes_a_step, network, reconstruction):
    assert takes_a_step(network=network, reconstruction=reconstruction)


@pytest.mark.parametrize("loss", ["margin", "spread", "cross-entropy"])
def test_every_loss_trains_on_two_labels_an_image(takes_a_step, loss):
    assert takes_a_step(loss=loss)


def test_the_objective_is_the_loss_and_the_weighted_mean_of_the_reconstruction_errors(make_cell):
    cell = make_cell(reconstruction=True)
    network, batch = make_network(cell), Batch(torch.rand(3, 1, 8, 8), torch.tensor([3, 9, 0]))
    capsules = network.capsules(batch.images)
    errors = sum_errors(network.decoder(capsules.poses, batch.labels), batch.images)
    expected = make_loss(cell)(capsules.activations, batch.labels, 0.5) + cell.reconstruction_weight * errors.mean()
    torch.testing.assert_close(make_objective(cell, network)(batch, torch.tensor(0.5)), expected)


def test_without_a_decoder_the_objective_is_the_loss_at_its_progress(make_cell):
    cell = make_cell(loss="spread", reconstruction=False)
    network, batch = make_network(cell), Batch(torch.rand(3, 1, 8, 8), torch.tensor([3, 9, 0]))
    values = []
    for progress in (0.0, 1.0):
        values.append(make_objective(cell, network)(batch, torch.tensor(progress)))
        torch.testing.assert_close(values[-1], make_loss(cell)(network(batch.images), batch.labels, progress))
    assert values[1] > values[0]


@pytest.mark.parametrize(
    ("optimizer", "kind", "settings"),
    [
        ("adam", torch.optim.Adam, {"betas": (0.9, 0.999)}),
        ("adamw", torch.optim.AdamW, {"betas": (0.9, 0.999)}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": False}),
    ],
)
def test_an_optimiser_has_the_rate_and_the_decay_of_its_cell(make_cell, optimizer, kind, settings):
    network = nn.Linear(2, 2)
    made = make_optimizer(make_cell(optimizer=optimizer, learning_rate=0.25, weight_decay=0.5), network)
    assert type(made).__base__ is kind
    (group,) = made.param_groups
    assert (group["lr"], group["weight_decay"], group["fused"], group["foreach"]) == (0.25, 0.5, None, True)
    assert {name: group[name] for name in settings} == settings
    assert group["params"] == [*network.parameters()]
    assert make_optimizer(make_cell(optimizer=optimizer, fused_optimizer=True), network).param_groups[0]["fused"]


@pytest.mark.parametrize(
    "optimizer", [functools.partial(torch.optim.SGD, momentum=0.9), torch.optim.Adam, torch.optim.AdamW]
)
def test_all_tensors_at_once_make_the_steps_of_one_after_the_other(optimizer):
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in ((3, 4), (5,), (2, 3, 2))]
    gradients = [[torch.randn(value.shape, generator=generator) for value in start] for _ in range(3)]
    results = []
    for foreach in (True, False):
        parameters = [nn.Parameter(value.clone()) for value in start]
        steps = optimizer(parameters, lr=0.01, weight_decay=0.1, foreach=foreach)
        for step in gradients:
            for parameter, gradient in zip(parameters, step, strict=True):
                parameter.grad = gradient.clone()
            steps.step()
        results.append([parameter.tolist() for parameter in parameters])
    assert results[0] == results[1]


class Slope(nn.Module):
    """Scores of one class, which are its weight, for a loss whose gradient is known."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.0, 0.0]))

    def forward(self, images):
        return self.weight.expand(len(images), 2)


@pytest.mark.parametrize(("clip", "step"), [(0.0, 0.5), (0.1, 0.1 / 2**0.5), (5.0, 0.5)])
def test_a_step_goes_down_the_gradient_which_is_clipped_to_its_norm(make_cell, clip, step):
    request = dict(
        network="resnet", loss="cross-entropy", optimizer="sgd", learning_rate=1.0, weight_decay=0.0, clip=clip
    )
    network, batch = Slope(), Batch(torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))
    take_step = TrainingStep(make_cell(**request), network)
    loss = take_step(batch, 0.0)
    assert loss.item() == pytest.approx(math.log(2))  # before the step
    assert not loss.requires_grad
    torch.testing.assert_close(network.weight.detach(), torch.tensor([step, -step]))
    assert take_step(batch, 0.0) < loss


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_a_precision_is_that_of_products(make_cell, precision, dtype):
    with use_precision(make_cell(precision=precision)):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_squared_errors_are_summed_over_the_pixels_of_an_image():
    images = torch.arange(8.0).view(2, 1, 2, 2)
    assert sum_squared_errors(images, torch.ones(2, 1, 2, 2)).tolist() == [1 + 0 + 1 + 4, 9 + 16 + 25 + 36]
