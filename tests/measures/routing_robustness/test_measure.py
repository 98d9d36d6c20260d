"""Robustness and routing: networks made by hand of which each number is known beforehand."""

import pytest
import torch
from torch import nn

from capsbench import registry
from capsbench.attacks.effort import EFFORTS
from capsbench.attacks.threats import Threat, bounds_of
from capsbench.measures.routing_robustness.measure import Attacked, RoutingRobustness
from capsbench.networks.build import build_network
from capsbench.routing import Routing

EPSILON = bounds_of("digits", Threat.LINF).headline


class Counting(Routing):
    """Takes every image for the class of as many as it makes iterations, whatever it sees."""

    def forward(self, poses, weights, activations, offset=None):
        active = torch.zeros(len(poses), self.parent_count)
        active[:, self.iterations] = 1
        return poses.new_zeros(len(poses), self.parent_count, poses.shape[2], weights.shape[3]), active


class Brightness(nn.Module):
    """Class 1 of images that are brighter than one half on average; ``flipped``, the gradient leads the wrong way."""

    def __init__(self, flipped=False):
        super().__init__()
        self.flipped = flipped

    def forward(self, images):
        above = 3 * (images.mean(dim=(1, 2, 3)) - 0.5)
        if self.flipped and images.requires_grad:
            above = -above
        return torch.stack([1 - above, 1 + above], dim=1) / 2


def grey(levels):
    """An image of one grey for each level."""
    return torch.tensor(levels)[:, None, None, None].expand(-1, 1, 8, 8).clone()


@pytest.fixture
def values(subject):
    def values(cell, network, images, labels):
        rows = RoutingRobustness()(subject(cell, network, images, labels))
        assert {row.measure for row in rows} == {"routing-robustness"}
        return {(row.metric, row.condition, row.level): row.value for row in rows}

    return values


@pytest.fixture
def counting(make_cell, monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN["routing"], "counting", f"{__name__}:Counting")
    cell = make_cell(routing="counting", iters=2)
    return cell, build_network(cell)


def test_each_number_of_iterations_has_its_accuracy(counting, values):
    labels = torch.tensor([1] * 5 + [2] * 3 + [3] * 2)
    found = values(*counting, torch.rand(10, 1, 8, 8), labels)
    for metric in ("accuracy", "robust accuracy"):  # there is nothing that an attack could change
        assert found[metric, "iterations at test time", 1] == 0.5
        assert found[metric, "iterations at test time", 2] == 0.3
        assert found[metric, "iterations at test time", 3] == 0.2
    assert found["robust accuracy", "output attack", EPSILON] == 0.3
    assert found["accuracy", "mean votes", None] == 0.5  # of the first iteration
    assert found["robust accuracy", "vote attack", EPSILON] == 0.3


def test_robust_are_the_images_that_stay_right_beyond_epsilon(subject, make_cell):
    images = grey([0.1, 0.5 - EPSILON - 0.02, 0.5 - EPSILON + 0.02, 0.48, 0.52, 0.5 + EPSILON + 0.02, 0.9, 0.9])
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 0])
    attacked = Attacked.from_subject(subject(make_cell(), Brightness(), images, labels), EFFORTS["light"])
    assert attacked.compute_accuracy(Brightness()) == 7 / 8
    assert attacked.compute_robust_accuracy(Brightness(), Brightness(), EPSILON) == 4 / 8


def test_what_one_network_gives_away_is_shown_to_the_other(subject, make_cell):
    images, labels = grey([0.48, 0.52]), torch.tensor([0, 1])
    attacked = Attacked.from_subject(subject(make_cell(), Brightness(), images, labels), EFFORTS["light"])
    flipped = Brightness(flipped=True)
    assert (
        attacked.compute_robust_accuracy(flipped, flipped, EPSILON) == 1
    )  # its own gradient leads away from the other class
    assert attacked.compute_robust_accuracy(flipped, Brightness(), EPSILON) == 0


def test_without_an_image_that_is_right_nothing_is_robust(subject, make_cell):
    attacked = Attacked.from_subject(
        subject(make_cell(), Brightness(), grey([0.1]), torch.tensor([1])), EFFORTS["light"]
    )
    assert attacked.compute_robust_accuracy(Brightness(), Brightness(), EPSILON) == 0


@pytest.mark.parametrize(
    ("asked", "conditions"),
    [
        (dict(routing="em", iters=2), {"mean votes", "vote attack", "output attack", "iterations at test time"}),
        (dict(routing="uniform", precision="float64"), {"mean votes", "vote attack", "output attack"}),
        (dict(routing="dynamic", iters=4, precision="bfloat16"), None),
    ],
)
def test_real_networks_have_all_rows_and_are_left_as_they_were(values, make_cell, monkeypatch, asked, conditions):
    monkeypatch.setitem(EFFORTS, "light", EFFORTS["light"]._replace(images=4, steps=3, every=True))
    monkeypatch.setattr(RoutingRobustness, "iterations", {"light": (1, 2)})
    cell = make_cell(**asked)
    torch.manual_seed(0)
    network = build_network(cell).train()
    images = torch.rand(6, 1, 8, 8, dtype=next(network.parameters()).dtype)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    labels = network.eval()(images).argmax(dim=1)
    found = values(cell, network, images, labels)
    if conditions is not None:
        assert {condition for _, condition, _ in found} == conditions
    else:
        assert {level for _, condition, level in found if condition == "iterations at test time"} == {1, 2, 4}
    sweep = bounds_of("digits", Threat.LINF).sweep
    assert {level for _, condition, level in found if condition == "output attack"} == set(sweep)
    assert all(0 <= value <= 1 for value in found.values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert values(cell, network, images, labels) == found


def test_which_networks_it_fits(make_cell):
    assert RoutingRobustness.applies_to(make_cell(routing="em"))
    assert RoutingRobustness.applies_to(make_cell(routing="self-attention"))
    assert not RoutingRobustness.applies_to(make_cell(routing="self-routing"))
    assert not RoutingRobustness.applies_to(make_cell(network="resnet"))
    assert not RoutingRobustness.applies_to(make_cell(dataset="multimnist"))


def test_each_setting_has_its_iterations():
    assert RoutingRobustness.iterations.keys() == set(RoutingRobustness.settings)
