"""Networks without their routing and at other iterations, against votes and iterations written out."""

import sys

import pytest
import torch

from capsbench.attacks.routing import remove_routing, set_iterations
from capsbench.measures.routing_robustness.measure import RoutingRobustness
from capsbench.networks.build import build_network


@pytest.fixture
def built(make_cell):
    """A cell in float64 and its network with random weights, in evaluation mode."""

    def make(**asked):
        cell = make_cell(precision="float64", **asked)
        torch.manual_seed(0)
        return cell, build_network(cell).eval()

    return make


@pytest.fixture
def images():
    return torch.rand(5, 1, 8, 8, dtype=torch.double, generator=torch.Generator().manual_seed(1))


def children_of(network, images):
    """Poses ``[N, I, R, D]`` and activations ``[N, I]`` that go into the class capsules."""
    seen = []
    handle = network.classes.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    network(images)
    handle.remove()
    return seen[0].poses.flatten(1, 3), seen[0].activations.flatten(1, 3)


def votes_of(network, poses):
    """Every vote for a class, ``[N, I, J, R, E]``."""
    weights = network.classes.weights.repeat(network.classes.positions, 1, 1, 1)
    votes = torch.einsum("nird,ijde->nijre", poses, weights)
    offset = network.classes.offset
    return votes if offset is None else votes + offset[:, :, None]


def squash(s):
    square = s.square().sum(dim=-1, keepdim=True)
    return square / (1 + square) * s / square.sqrt()


# The vote attack


def test_the_length_of_the_squashed_mean_vote_is_the_activation(built, images):
    cell, network = built(routing="dynamic", iters=3)
    poses, _ = children_of(network, images)
    mean = votes_of(network, poses).flatten(3).mean(dim=1)
    torch.testing.assert_close(remove_routing(cell, network)(images), squash(mean).norm(dim=-1))


@pytest.mark.parametrize("asked", [dict(routing="uniform"), dict(routing="dynamic", network="matrix-capsules")])
def test_every_routing_of_the_network_gives_way(built, images, asked):
    cell, network = built(**asked)
    votes = remove_routing(cell, network)
    poses, _ = children_of(votes, images)
    mean = votes_of(votes, poses).flatten(3).mean(dim=1)
    torch.testing.assert_close(votes(images), squash(mean).norm(dim=-1))
    if asked["routing"] == "dynamic":
        below = votes.primary(votes.stem(images))
        middle = votes.convolutional[0](below)
        windows = below.poses[:, :3, :3].flatten(1, 3)  # that the position in the corner sees
        seen = torch.einsum("nird,ijde->nijre", windows, votes.convolutional[0].weights).flatten(3).mean(dim=1)
        torch.testing.assert_close(middle.poses[:, 0, 0].flatten(2), squash(seen))


def test_of_unit_poses_the_activation_is_what_the_usual_squash_makes_of_the_mean(built, images):
    cell, network = built(routing="dynamic", squash="unit")
    poses, _ = children_of(network, images)
    mean = votes_of(network, poses).flatten(3).mean(dim=1)
    votes = remove_routing(cell, network)
    torch.testing.assert_close(votes(images), squash(mean).norm(dim=-1))
    torch.testing.assert_close(votes.capsules(images).poses.flatten(2).norm(dim=2), torch.ones(5, 10).double())


def test_where_activations_are_no_lengths_the_first_iteration_is_left(built, images):
    """The pose of a class is then the mean of all votes for it, weighed by the activations of the children."""
    cell, network = built(routing="em", iters=3)
    votes = remove_routing(cell, network)
    poses, activations = children_of(votes, images)
    weighed = votes_of(votes, poses) * activations[:, :, None, None, None]
    expected = weighed.sum(dim=1) / activations.sum(dim=1)[:, None, None, None]
    torch.testing.assert_close(votes.capsules(images).poses, expected)
    assert not torch.allclose(network.capsules(images).poses, expected)


def test_without_iterations_and_lengths_there_is_none(built):
    assert remove_routing(*built(routing="self-routing")) is None


@pytest.mark.parametrize("routing", ["dynamic", "em", "self-attention", "inverted-attention", "variational-bayes"])
def test_gradients_reach_the_image_and_the_network_stays(built, images, routing):
    cell, network = built(routing=routing)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    scores, random = network(images), torch.get_rng_state()
    votes = remove_routing(cell, network)
    wanted = images.clone().requires_grad_()
    votes(wanted)[:, 0].sum().backward()
    assert wanted.grad.abs().amin(dim=(1, 2, 3)).shape == (5,)
    assert wanted.grad.flatten(1).norm(dim=1).min() > 0
    assert torch.equal(random, torch.get_rng_state())
    assert torch.equal(network(images), scores)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


# Iterations


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_as_many_iterations_of_routing_by_agreement_are_made(built, images, iterations):
    cell, network = built(routing="dynamic", iters=3)
    poses, _ = children_of(network, images)
    votes = votes_of(network, poses).flatten(3)
    logits = votes.new_zeros(votes.shape[:3])
    for _ in range(iterations):
        outputs = squash((logits.softmax(dim=2)[..., None] * votes).sum(dim=1))
        logits = logits + (votes * outputs[:, None]).sum(dim=3)
    torch.testing.assert_close(set_iterations(cell, network, iterations)(images), outputs.norm(dim=2))
    assert network.classes.routing.iterations == 3


def test_temperatures_are_those_of_a_network_made_with_as_many_iterations(make_cell, built, images):
    cell, network = built(routing="em", iters=1, temperature_schedule="linear", class_temperature=0.5)
    other = build_network(
        make_cell(routing="em", iters=3, temperature_schedule="linear", class_temperature=0.5, precision="float64")
    ).eval()
    other.load_state_dict(network.state_dict())
    changed = set_iterations(cell, network, 3)
    assert changed.classes.routing.inverse_temperature == other.classes.routing.inverse_temperature
    assert torch.equal(changed(images), other(images))


def test_the_mode_and_the_random_numbers_are_kept(built):
    cell, network = built(routing="dynamic")
    random = torch.get_rng_state()
    assert not set_iterations(cell, network, 2).training
    assert set_iterations(cell, network.train(), 2).training
    assert torch.equal(random, torch.get_rng_state())


# A routing of one's own

OWN = """
from capsbench.routing import Routing
from capsbench_kernels import Parents, squash, vector_length

class Mine(Routing):
    iterative = {iterative}
    vote_attack = {way!r}
    squash = {variant!r}

    def forward(self, poses, weights, activations, offset=None):
        outputs = squash(3 * self.vote_pass(poses, weights, Parents(), offset=offset).first, variant=self.squash)
        return outputs.unflatten(2, (poses.shape[2], weights.shape[3])), vector_length(outputs, dim=2)
"""


@pytest.fixture
def own_routing(tmp_path, monkeypatch):
    """Makes a module of one's own routing that declares how it is attacked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def make(way, iterative=False, variant="sabour"):
        (tmp_path / "own_attacked.py").write_text(OWN.format(way=way, iterative=iterative, variant=variant))
        return "own_attacked:Mine"

    yield make
    sys.modules.pop("own_attacked", None)


@pytest.mark.parametrize("variant", ["sabour", "efficient"])
def test_an_own_routing_that_declares_mean_votes_gives_way_to_them(built, images, own_routing, variant):
    cell, network = built(routing=own_routing("mean votes", variant=variant), network="capsnet")
    votes = remove_routing(cell, network)
    poses, _ = children_of(network, images)
    mean = votes_of(network, poses).flatten(3).mean(dim=1)
    length = mean.norm(dim=-1)
    expected = length.square() / (1 + length.square()) if variant == "sabour" else 1 - torch.exp(-length)
    torch.testing.assert_close(votes(images), expected)
    assert RoutingRobustness.applies_to(cell)


@pytest.mark.parametrize(
    ("way", "iterative", "left"),
    [("first iteration", True, 1), ("first iteration", False, None), (None, True, None), (None, False, None)],
)
def test_an_own_routing_runs_its_first_iteration_or_is_not_attacked(built, own_routing, way, iterative, left):
    cell, network = built(routing=own_routing(way, iterative), network="capsnet", **({"iters": 3} if iterative else {}))
    votes = remove_routing(cell, network)
    assert (None if votes is None else votes.classes.routing.iterations) == left
