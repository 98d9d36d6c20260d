"""What a user's own measure changes is found, and of the network restored."""

import pytest
import torch
from torch import nn

from capsbench.data import Images, Splits
from capsbench.measures.guard import Guard


@pytest.fixture
def network():
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))


@pytest.fixture
def data():
    def make_images():
        return Images(torch.rand(4, 1, 1, 3), torch.arange(4))

    return Splits(make_images(), make_images(), make_images(), {"night": make_images()})


def read(network, data):
    network(data.test.images.flatten(1)).sum().backward()
    network.train().requires_grad_(False)


def fill_images(network, data):
    data.test.images[:, :, :, 0] = 0.0


def fill_a_view(network, data):
    data.beside["night"].images.flatten(1).zero_()


def sort_labels(network, data):
    data.validation.labels.add_(1)


def prune_weights(network, data):
    with torch.no_grad():
        network[0].weight.mul_(0.5)


def prune_behind_torch(network, data):
    network[0].weight.data[0] = 0


def move_statistics(network, data):
    network.train()(torch.rand(8, 3))


@pytest.mark.parametrize(
    ("measure", "changed"),
    [
        (read, []),
        (fill_images, ["test images"]),
        (fill_a_view, ["night images"]),
        (sort_labels, ["validation labels"]),
        (prune_weights, ["weights"]),
        (prune_behind_torch, ["weights"]),
        (move_statistics, ["weights"]),
        (lambda *subject: [prune_weights(*subject), fill_images(*subject)], ["weights", "test images"]),
    ],
)
def test_changes_are_named_and_those_of_the_network_undone(measure, changed, network, data):
    network.eval()
    network[1].running_var[0] = torch.nan  # which equals itself here
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    guard = Guard(network, data)
    measure(network, data)
    assert guard.restore() == changed
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)
    assert not any(module.training for module in network.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
