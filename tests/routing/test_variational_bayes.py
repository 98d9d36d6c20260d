"""Variational Bayes routing against the textbook's update of a Gaussian mixture, in loops over explicit votes."""

import math

import pytest
import torch

from capsbench.errors import ArgumentError
from capsbench.networks.build import build_network
from capsbench.routing.base import LayerShape
from capsbench.routing.variational_bayes import VariationalBayesRouting
from capsbench.routing.windows import Windows
from tests.routing.declared import read_defaults, read_flags

BACKENDS = ["reference", "cpu"]


def draw_tensor(*shape, seed=0, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.double).requires_grad_(requires_grad)


def make_problem(requires_grad=False):
    """Poses [4, 6, 2, 3], weights [6, 3, 3, 2], activations [4, 6] and an offset [1, 6, 2, 2]: votes of 4 values."""
    shapes = (4, 6, 2, 3), (6, 3, 3, 2), (4, 6), (1, 6, 2, 2)
    return [draw_tensor(*shape, seed=seed, requires_grad=requires_grad) for seed, shape in enumerate(shapes)]


def compute_votes(poses, weights, offset):
    """Every vote, [N, I, J, H]."""
    return (torch.einsum("nird,ijde->nijre", poses, weights) + offset.unsqueeze(2)).flatten(3)


def update_by_textbook(votes, shares, activations, alpha0=1.0, kappa0=1.0, psi0=1.0, nu0=1.0):
    """One problem: votes [I, J, H], shares [I, J]. Bishop 2006, 10.58 to 10.66, of a diagonal scale matrix and m0 = 0.

    Gives the parents' means [J, H], their part of the log-shares [I, J] and the logits of their activations [J].
    """
    children, parents, values = votes.shape
    means, log_shares, logits = [], [], []
    masses = [sum(shares[i, j] * activations[i] for i in range(children)) for j in range(parents)]
    for j, mass in enumerate(masses):
        mean_vote = sum(shares[i, j] * activations[i] * votes[i, j] for i in range(children)) / mass
        covariance = sum(shares[i, j] * activations[i] * (votes[i, j] - mean_vote) ** 2 for i in range(children)) / mass
        kappa, nu = kappa0 + mass, values + nu0 + mass
        mean = (kappa0 * 0 + mass * mean_vote) / kappa
        inverse_scale = psi0 + mass * covariance + kappa0 * mass / (kappa0 + mass) * (mean_vote - 0) ** 2
        log_precision = sum(torch.digamma((nu + 1 - d) / 2) for d in range(1, values + 1))
        log_precision = log_precision + values * math.log(2) + (1 / inverse_scale).prod().log()
        log_mixing = torch.digamma(alpha0 + mass) - torch.digamma(sum(alpha0 + other for other in masses))
        distances = [values / kappa + nu * ((votes[i, j] - mean) ** 2 / inverse_scale).sum() for i in range(children)]
        log_shares.append(
            torch.stack(
                [
                    log_mixing + log_precision / 2 - values / 2 * math.log(2 * math.pi) - distance / 2
                    for distance in distances
                ]
            )
        )
        entropy = values / 2 * math.log(2 * math.pi * math.e) - log_precision / 2
        means.append(mean)
        logits.append(-log_mixing.exp() * entropy)
    return torch.stack(means), torch.stack(log_shares, dim=1), torch.stack(logits)


def normalise_over_batch(values, dims):
    """Mean 0 and variance 1 a parent, as a batch norm makes them."""
    centred = values - values.mean(dim=dims, keepdim=True)
    return centred / (centred.square().mean(dim=dims, keepdim=True) + 1e-5).sqrt()


def route_naively(poses, weights, activations, offset, iterations, **prior):
    votes = compute_votes(poses, weights, offset)
    means, logits = [], []
    for n in range(len(votes)):
        shares = torch.full(votes.shape[1:3], 1 / votes.shape[2], dtype=votes.dtype)
        for _ in range(iterations):
            mean, log_shares, logit = update_by_textbook(votes[n], shares, activations[n], **prior)
            shares = log_shares.softmax(dim=1)
        means.append(mean)
        logits.append(logit)
    outputs = normalise_over_batch(torch.stack(means), dims=(0, 2))
    return outputs.unflatten(2, (poses.shape[2], -1)), normalise_over_batch(torch.stack(logits), dims=0).sigmoid()


@pytest.mark.parametrize("prior", [{}, dict(alpha0=0.5, kappa0=2.0, psi0=0.25, nu0=3.0)], ids=["authors", "other"])
@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("backend", BACKENDS)
def test_parents_and_their_gradients_are_those_of_the_textbook(backend, iterations, prior):
    results = []
    routing = VariationalBayesRouting(6, 3, iterations=iterations, backend=backend, **prior).double()
    for route in (routing, lambda *tensors: route_naively(*tensors, iterations, **prior)):
        poses, weights, logits, offset = leaves = make_problem(requires_grad=True)
        outputs = route(poses, weights, logits.sigmoid(), offset)
        total = sum((tensor * draw_tensor(*tensor.shape, seed=9)).sum() for tensor in outputs)
        results.append([*outputs, *torch.autograd.grad(total, leaves)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_child_in_several_windows_is_shared_once_among_all_that_see_it(backend):
    """A 4x3 grid of 2 types under 3x3 windows: 2 problems an image, and 6 of the 12 positions are in both."""
    windows, types, images = Windows((2, 4, 3), kernel=3, stride=1), 2, 2
    poses = draw_tensor(images, 4, 3, types, 2 * 3)
    split = windows.split(poses).reshape(4, 18, 2, 3)
    child = torch.arange(images * 4 * 3 * types, dtype=torch.double).view(images, 4, 3, types, 1)
    child = windows.split(child).reshape(4, 18)
    weights, activations, offset = (
        draw_tensor(18, 3, 3, 2, seed=1),
        draw_tensor(4, 18, seed=2).sigmoid(),
        torch.zeros(1, 18, 2, 2),
    )

    votes = compute_votes(split, weights, offset.double())
    first = [update_by_textbook(votes[n], torch.full((18, 3), 1 / 3), activations[n]) for n in range(4)]
    densities = torch.stack([log_shares.exp() for _, log_shares, _ in first])
    means = []
    for n in range(4):
        rivals = torch.stack([densities[child == child[n, i]].sum() for i in range(18)])
        means.append(update_by_textbook(votes[n], densities[n] / rivals.unsqueeze(1), activations[n])[0])
    expected = normalise_over_batch(torch.stack(means), dims=(0, 2)).unflatten(2, (2, 2))

    routing = VariationalBayesRouting(18, 3, iterations=2, backend=backend).double()
    assert routing.across_windows
    torch.testing.assert_close(routing(split, weights, activations, windows=windows)[0], expected)
    assert not torch.allclose(routing(split, weights, activations)[0], expected)


def test_of_two_parents_of_one_mass_that_whose_votes_agree_is_the_more_active():
    """Ten problems of 8 children whose votes have one mean; in every second problem they are spread about it."""
    spread = torch.tensor([2.0, -2.0] * 4).view(8, 1, 1)
    poses = 1 + torch.stack([torch.zeros(8, 1, 1), spread] * 5)
    weights = torch.ones(8, 2, 1, 4)
    _, activations = VariationalBayesRouting(8, 2, iterations=1)(poses, weights, torch.ones(10, 8))
    assert (activations[0::2] > activations[1::2] + 0.2).all()


def test_evaluation_reads_the_statistics_of_training():
    poses, weights, logits, offset = make_problem()
    routing = VariationalBayesRouting(6, 3, iterations=2).double()
    together = routing(poses, weights, logits.sigmoid(), offset)[1]
    for _ in range(200):
        routing(poses, weights, logits.sigmoid(), offset)
    routing.eval()
    pairs = zip(poses.split(1), logits.sigmoid().split(1), strict=True)
    one_by_one = torch.cat([routing(pose, weights, activation, offset)[1] for pose, activation in pairs])
    # Running variances are those of a sample: 4/3 of what the batch itself is divided by.
    torch.testing.assert_close(one_by_one.logit(), together.logit() * math.sqrt(3 / 4), rtol=1e-4, atol=1e-5)


def test_a_single_problem_in_training_goes_by_the_running_statistics():
    poses, weights, logits, offset = make_problem()
    routing = VariationalBayesRouting(6, 3, iterations=2).double()
    arguments = poses[:1], weights, logits[:1].sigmoid(), offset
    in_training = routing(*arguments)[1]
    assert torch.equal(in_training, routing.eval()(*arguments)[1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_children_that_are_not_there_leave_the_prior(backend):
    poses, weights, _, offset = make_problem(requires_grad=True)
    routing = VariationalBayesRouting(6, 3, iterations=3, backend=backend).double()
    outputs, activations = routing(poses, weights, torch.zeros(4, 6, dtype=torch.double), offset)
    assert torch.equal(outputs, torch.zeros_like(outputs))
    torch.testing.assert_close(activations, torch.full_like(activations, 0.5))
    (outputs.sum() + activations.sum()).backward()
    assert all(leaf.grad.isfinite().all() for leaf in (poses, weights))


@pytest.mark.parametrize("scale", [1e4, 1e-6])
def test_votes_of_any_size_give_finite_parents_and_gradients(scale):
    poses, weights, logits, offset = (leaf.detach().float() for leaf in make_problem())
    poses = (scale * poses).requires_grad_()
    outputs, activations = VariationalBayesRouting(6, 3)(poses, weights, logits.sigmoid(), offset)
    (outputs.square().sum() + activations.sum()).backward()
    for tensor in (outputs, activations, poses.grad):
        assert tensor.isfinite().all()


def test_under_mixed_precision_it_routes_in_float32():
    poses, weights, logits, offset = (leaf.float() for leaf in make_problem())
    routing = VariationalBayesRouting(6, 3).eval()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = routing(poses, weights, logits.sigmoid(), offset)
    for ours, theirs in zip(mixed, routing(poses, weights, logits.sigmoid(), offset), strict=True):
        assert torch.equal(ours, theirs)


def test_only_shares_among_all_parents_need_the_windows():
    assert VariationalBayesRouting(6, 5).across_windows
    assert not VariationalBayesRouting(6, 5, normalise="window").across_windows


@pytest.mark.parametrize(
    ("argument", "value"),
    [("normalise", "half"), ("alpha0", 0.0), ("nu0", -1.0)],
)
def test_wrong_options_are_refused_in_one_line(argument, value):
    with pytest.raises(ArgumentError) as caught:
        VariationalBayesRouting(6, 5, **{argument: value})
    assert (caught.value.argument, caught.value.value) == (argument, value)
    assert "\n" not in str(caught.value)


def test_it_runs_in_matrix_capsules_by_default(make_cell):
    torch.manual_seed(0)
    cell = make_cell(routing="variational-bayes")
    assert (cell.network, cell.iterations) == ("matrix-capsules", 3)
    scores = build_network(cell)(torch.rand(4, 1, 8, 8))
    assert scores.shape == (4, 10)
    assert scores.min() >= 0
    assert scores.max() <= 1


@pytest.mark.parametrize("scale", [1, 10, 100, 1000])
def test_a_parent_that_jumps_keeps_its_scatter_in_float32(scale):
    """Under a prior that weighs next to nothing, what is left of the second moment about the new mean is all there is."""
    for seed in range(10):
        torch.manual_seed(seed)
        arguments = scale * torch.randn(4, 12, 4, 4), torch.randn(12, 5, 4, 4), (torch.rand(4, 12) > 0.5).float()
        routing = VariationalBayesRouting(12, 5, kappa0=1e-3, normalise="window").eval()
        _, single = routing(*arguments)
        _, double = routing.double()(*(tensor.double() for tensor in arguments))
        assert (single - double).abs().amax() < 1e-4


def test_its_defaults_are_the_papers_and_those_of_few_capsule_types_its_presets():
    assert read_flags(VariationalBayesRouting) == {"network": "matrix-capsules", "separate_activations": True}
    assert read_defaults(VariationalBayesRouting) == {
        "iterations": 3,
        "backend": "auto",
        "alpha0": 1.0,
        "kappa0": 1.0,
        "psi0": 1.0,
        "nu0": 1.0,
        "normalise": "all",
    }
    few = {"psi0": 25.0, "network.transform_init": "glorot", "network.transform_sigma": 5.0}
    papers = {"network.transform_init": "glorot", "network.transform_sigma": 1.0}
    assert VariationalBayesRouting.presets == {"tiny": few, "small": few, "paper": papers}


def test_one_problem_of_one_parent_is_routed():
    routing = VariationalBayesRouting(4, 1).eval()
    routing.prepare(LayerShape(4, 4, 4, 4, classes=True))
    generator = torch.Generator().manual_seed(0)
    poses, weights = (torch.randn(*shape, generator=generator) for shape in ((1, 4, 4, 4), (4, 1, 4, 4)))
    means, activations = routing(poses, weights, torch.ones(1, 4))
    # All children are the one parent's, whose mean is that of their votes and of the prior's at 0, of a weight of 1.
    votes = torch.einsum("nird,ijde->nijre", poses, weights)
    torch.testing.assert_close(means, votes.sum(dim=1) / 5)
    assert activations.shape == (1, 1)
