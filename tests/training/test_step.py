"""The objective of a training step: the loss and the reconstruction errors."""

import pytest
import torch

from capsbench import registry
from capsbench.data.base import Dataset
from capsbench.data.images import Batch, Images, ImageShape, Splits
from capsbench.networks.build import build_network
from capsbench.training.step import TrainingStep, compute_reconstruction_errors


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
