"""Observed coefficients are those of the routing: its outputs follow from them by the papers' formulas."""

import math

import pytest
import torch

from capsbench.networks.build import build_network
from capsbench.networks.observation import list_routings, observe_routings
from capsbench_kernels import observe_vote_passes

NETWORKS = [
    dict(routing="dynamic", iters=3),
    dict(routing="dynamic", iters=3, leaky=True, bias=True),
    dict(routing="uniform"),
    dict(routing="em", iters=3),
    dict(routing="em", iters=2, normalise="all"),
    dict(routing="variational-bayes", iters=3),
    dict(routing="self-attention"),
    dict(routing="self-routing", reconstruction=True),
    dict(routing="inverted-attention", iters=3),
]


def network_of(make_cell, **request):
    torch.manual_seed(0)
    return build_network(make_cell(dataset="digits", precision="float64", **request)).eval()


def named(request):
    return " ".join(map(str, request.values()))


@pytest.fixture
def images():
    return torch.rand(3, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("request_", NETWORKS, ids=named)
def test_the_moments_of_every_pass_follow_from_the_observed_coefficients(make_cell, images, request_):
    """The votes written out, weighted by the observed coefficients, add up to what the kernels returned."""
    passes = []
    network = network_of(make_cell, **request_)
    with torch.no_grad(), observe_vote_passes(passes.append):
        network(images)
    assert len(passes) >= len(list_routings(network))
    for vote_pass in passes:
        votes = torch.einsum("nird,ijde->nijre", vote_pass.poses, vote_pass.weights)
        if vote_pass.offset is not None:
            votes = votes + vote_pass.offset[:, :, None]
        votes = votes.flatten(3)
        if vote_pass.parents.centre is not None:
            votes = votes - vote_pass.parents.centre[:, None]
        shares = vote_pass.shares()
        weights = shares if vote_pass.activations is None else shares * vote_pass.activations[:, :, None]
        torch.testing.assert_close(weights.sum(dim=1), vote_pass.moments.mass, rtol=1e-6, atol=1e-9)
        first = torch.einsum("nij,nijh->njh", weights, votes)
        torch.testing.assert_close(first, vote_pass.moments.first, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("request_", NETWORKS, ids=named)
def test_each_routing_gives_a_layer_with_all_its_iterations(make_cell, images, request_):
    network = network_of(make_cell, **request_)
    layers = observe_routings(network, images)
    assert len(layers) == len(list_routings(network))
    assert [layer.classes for layer in layers] == [False] * (len(layers) - 1) + [True]
    assert len({layer.name for layer in layers}) == len(layers)
    for layer in layers:
        expected = list_routings(network)[0].iterations if list_routings(network)[0].iterative else 1
        assert len(layer.shares) == expected
        assert layer.rows * layer.columns * layer.types == layer.shares[0].shape[2]


@pytest.mark.parametrize("request_", NETWORKS, ids=named)
def test_the_shares_of_a_child_add_up_to_1(make_cell, images, request_):
    """Over the parents of its problem, or of all the windows that it is in, where the routing says so."""
    network = network_of(make_cell, **request_)
    for layer, routing in zip(observe_routings(network, images), list_routings(network), strict=True):
        for shares in layer.shares:
            total = shares.sum(dim=-1)
            if routing.across_windows and not layer.classes:
                assert (total <= 1 + 1e-9).all()
            else:
                torch.testing.assert_close(total, torch.ones_like(total))


def test_a_child_of_several_windows_is_shared_once_among_all_of_them(make_cell, images):
    """EM with ``normalise=all``: the shares of a capsule, summed over its windows, are 1 after the first E-step."""
    network = network_of(make_cell, routing="em", iters=2, normalise="all")
    layer = observe_routings(network, images)[0]
    conv = network.convolutional[0]
    side = math.isqrt(layer.shares[0].shape[1])  # windows along an axis
    grid = (side - 1) * conv.stride + conv.kernel
    total = torch.zeros(len(images), grid, grid, layer.types, dtype=torch.float64)
    for problem in range(side * side):
        top, left = (conv.stride * place for place in divmod(problem, side))
        sums = layer.shares[1][:, problem].sum(dim=-1).unflatten(1, (conv.kernel, conv.kernel, layer.types))
        total[:, top : top + conv.kernel, left : left + conv.kernel] += sums
    torch.testing.assert_close(total, torch.ones_like(total))


def test_the_class_capsules_of_dynamic_routing_are_the_squashed_sums_by_the_last_coefficients(make_cell, images):
    """Sabour 2017, equations 1 and 2, with the observed coefficients and the votes written out."""
    network = network_of(make_cell, routing="dynamic", iters=3)
    (layer,) = observe_routings(network, images)
    with torch.no_grad():
        below = network.primary(network.stem(images)).poses.flatten(1, 3)[:, :, 0]  # [B, I, D]
        sums = torch.einsum("bij,bid,ijde->bje", layer.shares[-1][:, 0], below, network.classes.weights)
        squared = sums.square().sum(dim=-1, keepdim=True)
        squashed = squared / (1 + squared) * sums / squared.sqrt()
        torch.testing.assert_close(squashed, network.capsules(images).poses[:, :, 0])


def test_the_agreement_is_the_length_of_the_sum_by_the_sum_of_lengths(make_cell, images):
    network = network_of(make_cell, routing="dynamic", iters=2)
    (layer,) = observe_routings(network, images)
    with torch.no_grad():
        below = network.primary(network.stem(images)).poses.flatten(1, 3)[:, :, 0]
        votes = torch.einsum("bid,ijde->bije", below, network.classes.weights) * layer.shares[-1][:, 0][..., None]
    expected = votes.sum(dim=1).norm(dim=-1) / votes.norm(dim=-1).sum(dim=1)
    torch.testing.assert_close(layer.agreement[-1][:, 0], expected)
    assert ((layer.compute_mean_agreement() > 0) & (layer.compute_mean_agreement() <= 1)).all()


def test_equal_shares_have_an_entropy_of_1_and_a_single_parent_one_of_0(make_cell, images):
    (layer,) = observe_routings(network_of(make_cell, routing="uniform"), images)
    torch.testing.assert_close(layer.compute_entropy(), torch.ones(1, 3, dtype=torch.float64))
    layer.shares[0] = torch.nn.functional.one_hot(layer.shares[0].argmax(dim=-1), 10).double()
    assert not layer.compute_entropy().any()


def test_the_mean_over_places_is_weighted_by_the_activations_of_the_children(make_cell, images):
    (layer,) = observe_routings(network_of(make_cell, routing="dynamic", iters=3), images)
    shares = layer.shares[-1][0, 0].view(layer.rows * layer.columns, layer.types, 10)
    lengths = layer.activations[0, 0].view(layer.rows * layer.columns, layer.types, 1)
    torch.testing.assert_close(layer.average_by_type()[-1, 0], (shares * lengths).sum(0) / lengths.sum(0))
    places = (shares * lengths)[..., 7].sum(1) / lengths[..., 0].sum(1)
    seen = layer.average_by_position(torch.full((3,), 7))[-1, 0]
    torch.testing.assert_close(seen, places.view(layer.rows, layer.columns))


def test_observing_changes_neither_the_scores_nor_the_network(make_cell, images):
    network = network_of(make_cell, routing="em", iters=2)
    hooks = [{**module._forward_hooks, **module._forward_pre_hooks} for module in network.modules()]
    with torch.no_grad():
        before = network(images)
        with observe_vote_passes(lambda seen: None):
            assert torch.equal(network(images), before)
    observe_routings(network, images)
    assert [{**module._forward_hooks, **module._forward_pre_hooks} for module in network.modules()] == hooks
    with torch.no_grad():
        assert torch.equal(network(images), before)


def test_a_routing_outside_of_the_block_is_not_observed(make_cell, images):
    passes = []
    with observe_vote_passes(passes.append):
        pass
    network_of(make_cell, routing="dynamic")(images)
    assert not passes
