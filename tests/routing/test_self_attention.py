"""Self-attention routing against the paper's attention matrices, written out over explicit votes."""

import math

import pytest
import torch

from capsbench.routing.self_attention import SelfAttentionRouting
from tests.routing.declared import read_defaults, read_flags

SHAPES = {"vectors": ((3, 6, 1, 4), (6, 5, 4, 8), (1, 6, 1, 8)), "matrices": ((3, 6, 2, 3), (6, 5, 3, 2), (3, 6, 2, 2))}


def draw_tensor(*shape, seed=0, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.double).requires_grad_(requires_grad)


def route_naively(poses, weights, offset, log_prior):
    """A parent's attention matrix compares each child's vote with each other's; its rows are summed, then shared over parents."""
    votes = (torch.einsum("nird,ijde->nijre", poses, weights) + offset.unsqueeze(2)).flatten(3)
    problems, children, parents, values = votes.shape
    outputs = []
    for n in range(problems):
        columns = []
        for j in range(parents):
            attention = votes[n, :, j] @ votes[n, :, j].T / math.sqrt(values)
            columns.append(sum(attention[:, k] for k in range(children)))
        shares = torch.stack(columns, dim=1).softmax(dim=1)
        for j in range(parents):
            total = sum((shares[i, j] + log_prior[i, j]) * votes[n, i, j] for i in range(children))
            length = total.square().sum().sqrt()
            outputs.append((1 - 1 / math.e**length) * total / length)
    outputs = torch.stack(outputs).view(problems, parents, poses.shape[2], -1)
    return outputs, outputs.square().sum(dim=(2, 3)).sqrt()


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_parents_and_their_gradients_are_the_papers(backend, shapes):
    routing = SelfAttentionRouting(6, 5, backend=backend).double()
    with torch.no_grad():
        routing.log_prior.copy_(draw_tensor(6, 5, seed=7))
    results = []
    for route in (
        lambda poses, weights, offset: routing(poses, weights, torch.ones(3, 6).double(), offset),
        lambda poses, weights, offset: route_naively(poses, weights, offset, routing.log_prior),
    ):
        leaves = [draw_tensor(*shape, seed=seed, requires_grad=True) for seed, shape in enumerate(shapes)]
        outputs = route(*leaves)
        total = sum((tensor * draw_tensor(*tensor.shape, seed=9)).sum() for tensor in outputs)
        results.append([*outputs, *torch.autograd.grad(total, [*leaves, routing.log_prior])])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_without_an_offset_votes_are_the_poses_alone():
    routing = SelfAttentionRouting(6, 5).double()
    poses, weights = draw_tensor(3, 6, 1, 4), draw_tensor(6, 5, 4, 8, seed=1)
    expected = route_naively(poses, weights, torch.zeros(1, 6, 1, 8), routing.log_prior)
    for ours, theirs in zip(routing(poses, weights, torch.ones(3, 6).double()), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_under_mixed_precision_it_routes_in_float32():
    routing, poses, weights = (
        SelfAttentionRouting(6, 5),
        draw_tensor(3, 6, 1, 4).float(),
        draw_tensor(6, 5, 4, 8, seed=1).float(),
    )
    with torch.autocast("cpu", torch.bfloat16):
        mixed = routing(poses, weights, torch.ones(3, 6))
    for ours, theirs in zip(mixed, routing(poses, weights, torch.ones(3, 6)), strict=True):
        assert torch.equal(ours, theirs)


def test_log_priors_start_at_zero_one_a_child_and_parent():
    prior = SelfAttentionRouting(6, 5).log_prior
    assert prior.requires_grad
    assert torch.equal(prior, torch.zeros(6, 5))


def test_a_pose_tells_by_its_length_so_activations_are_not_read():
    routing, poses, weights = (
        SelfAttentionRouting(6, 5).double(),
        draw_tensor(3, 6, 1, 4),
        draw_tensor(6, 5, 4, 8, seed=1),
    )
    ones = torch.ones(3, 6).double()
    assert torch.equal(routing(poses, weights, ones)[0], routing(poses, weights, 0 * ones)[0])


def test_iterations_mean_nothing_to_it(make_cell):
    assert make_cell(routing="self-attention", iters=3) == make_cell(routing="self-attention", iters=1)
    assert make_cell(routing="self-attention").iterations == 1
    assert make_cell(routing="self-attention").network == "efficient-capsnet"


def test_its_defaults_are_the_papers():
    assert read_flags(SelfAttentionRouting) == {"network": "efficient-capsnet", "iterative": False}
    assert read_defaults(SelfAttentionRouting) == {"iterations": 1, "backend": "auto"}
    assert SelfAttentionRouting.presets == {}
