"""EM routing against Procedure 1 of Hinton 2018 as printed: densities in the open, R in memory."""

import math

import pytest
import torch

from capsbench_kernels import ArgumentError, em_routing

TEMPERATURES = [0.2, 0.3, 0.4]


def procedure_1(poses, weights, activations, beta_a, beta_u, iterations, epsilon, annealing=1.0, mass_scale=1.0):
    """M-STEP and E-STEP, line by line."""
    votes = torch.einsum("nird,ijde->nijre", poses, weights).flatten(3)
    r = torch.full(votes.shape[:3], 1 / votes.shape[2], dtype=votes.dtype)
    for iteration in range(iterations):
        r = r * activations.unsqueeze(2)
        total = r.sum(dim=1)
        mean = torch.einsum("nij,nijh->njh", r, votes) / total.unsqueeze(2)
        variance = torch.einsum("nij,nijh->njh", r, (votes - mean.unsqueeze(1)) ** 2) / total.unsqueeze(2) + epsilon
        cost = (beta_u.unsqueeze(1) + variance.sqrt().log()) * total.unsqueeze(2) * mass_scale
        parent = torch.sigmoid(TEMPERATURES[iteration] * (beta_a - cost.sum(dim=2)))
        exponent = ((votes - mean.unsqueeze(1)) ** 2 / (2 * variance.unsqueeze(1))).sum(dim=3)
        density = (-exponent).exp() / (2 * math.pi * variance).prod(dim=2).sqrt().unsqueeze(1)
        weighted = (parent.unsqueeze(1) * density) ** annealing
        r = weighted / weighted.sum(dim=2, keepdim=True)
    return mean, parent


@pytest.fixture
def em_problem(problem):
    made = problem(children=6, parents=3, rows=2, depth=2, columns=2)
    betas = torch.randn(2, 3, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    return [made["poses"], made["weights"], made["activations"], betas[0], betas[1]]


@pytest.mark.parametrize("iterations", [1, 2, 3])
@pytest.mark.parametrize(("annealing", "mass_scale"), [(1.0, 1.0), (0.1, 2.5)])
def test_values_and_gradients_are_those_of_procedure_1(em_problem, iterations, annealing, mass_scale):
    inputs = [tensor.requires_grad_() for tensor in em_problem]
    options = dict(annealing=annealing, mass_scale=mass_scale)
    poses, parents = em_routing(*inputs, iterations, inverse_temperature=TEMPERATURES, variance_epsilon=0.01, **options)
    expected_poses, expected_parents = procedure_1(*inputs, iterations, 0.01, **options)
    torch.testing.assert_close(poses.flatten(2), expected_poses)
    torch.testing.assert_close(parents, expected_parents)

    direction = torch.randn(expected_poses.shape, dtype=torch.double)
    ours = torch.autograd.grad((poses.flatten(2) * direction).sum() + parents.sum(), inputs)
    theirs = torch.autograd.grad((expected_poses * direction).sum() + expected_parents.sum(), inputs)
    for name, mine, expected in zip(["poses", "weights", "activations", "beta_a", "beta_u"], ours, theirs, strict=True):
        torch.testing.assert_close(mine, expected, msg=lambda text, name=name: f"{name}: {text}")


def test_a_childs_activation_has_an_effect(em_problem):
    poses, weights, activations, beta_a, beta_u = em_problem
    before, _ = em_routing(*em_problem, 3, inverse_temperature=TEMPERATURES)
    quieter = activations.clone()
    quieter[:, 0] *= 0.1
    after, _ = em_routing(poses, weights, quieter, beta_a, beta_u, 3, inverse_temperature=TEMPERATURES)
    assert (before - after).abs().amax() > 1e-3


def test_a_full_iteration_moves_the_shares(em_problem):
    one, _ = em_routing(*em_problem, 1, inverse_temperature=TEMPERATURES)
    two, _ = em_routing(*em_problem, 2, inverse_temperature=TEMPERATURES)
    assert (one - two).abs().amax() > 1e-3


@pytest.mark.parametrize("votes", [0.0, 1e-6, 1.0, 1e4])
@pytest.mark.parametrize("activation", [0.0, 1.0])
def test_degenerate_votes_give_finite_values_and_gradients(votes, activation):
    """All votes equal, of any size, from children that are all inactive or all certain, in float32."""
    poses = torch.full((2, 6, 4, 4), votes, requires_grad=True)
    weights = torch.eye(4).expand(6, 3, 4, 4)
    activations = torch.full((2, 6), activation, requires_grad=True)
    betas = torch.zeros(3, requires_grad=True)
    means, parents = em_routing(poses, weights, activations, betas, betas, 3, inverse_temperature=TEMPERATURES)
    (means.sum() + parents.sum()).backward()
    for tensor in (means, parents, poses.grad, activations.grad, betas.grad):
        assert tensor.isfinite().all()


def test_a_variance_survives_votes_far_from_zero():
    """Float32 votes around 1e3 with a spread of 1: from the second pass the moments are about the last mean."""
    generator = torch.Generator().manual_seed(0)
    poses = (1e3 + torch.randn(1, 64, 1, 4, generator=generator)).requires_grad_()
    weights = torch.eye(4).expand(64, 2, 4, 4)
    arguments = (torch.ones(1, 64), torch.zeros(2), torch.zeros(2), 2)
    _, single = em_routing(poses, weights, *arguments, inverse_temperature=[0.01] * 2)
    double_arguments = [argument.double() if isinstance(argument, torch.Tensor) else argument for argument in arguments]
    _, double = em_routing(poses.double(), weights.double(), *double_arguments, inverse_temperature=[0.01] * 2)
    torch.testing.assert_close(single.double(), double, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_gradient_last_takes_the_shares_for_constants(em_problem, backend):
    poses, weights, activations, beta_a, beta_u = em_problem
    inputs = [poses.requires_grad_(), weights.requires_grad_(), activations.requires_grad_()]
    options = dict(inverse_temperature=TEMPERATURES, variance_epsilon=0.01, backend=backend)
    last, _ = em_routing(*inputs, beta_a, beta_u, 2, gradient="last", **options)
    votes = torch.einsum("nird,ijde->nijre", poses, weights).flatten(3)
    with torch.no_grad():
        mean, parents = em_routing(*inputs, beta_a, beta_u, 1, **options)
        share = activations.unsqueeze(2) / 3
        distance = (votes - mean.flatten(2).unsqueeze(1)).square()
        variance = (share.unsqueeze(3) * distance).sum(dim=1) / share.sum(dim=1).unsqueeze(2) + 0.01
        density = -0.5 * (distance / variance.unsqueeze(1) + (2 * math.pi * variance).log().unsqueeze(1)).sum(dim=3)
        shares = (density + parents.log().unsqueeze(1)).softmax(dim=2)
    weight = shares * activations.unsqueeze(2)
    expected = torch.einsum("nij,nijh->njh", weight, votes) / weight.sum(dim=1).unsqueeze(2)
    torch.testing.assert_close(last.flatten(2), expected)
    for ours, theirs in zip(
        torch.autograd.grad(last.square().sum(), inputs),
        torch.autograd.grad(expected.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("name", "wrong", "expected", "value"),
    [
        ("activations", lambda t: None, "[3, 6]", None),
        ("beta_a", lambda t: t.unsqueeze(1), "[3]", [3, 1]),
        ("beta_u", lambda t: t.float(), "torch.float64", torch.float32),
    ],
)
def test_an_argument_that_does_not_fit_is_named(em_problem, name, wrong, expected, value):
    arguments = dict(zip(["poses", "weights", "activations", "beta_a", "beta_u"], em_problem, strict=True))
    arguments[name] = wrong(arguments[name])
    with pytest.raises(ArgumentError) as caught:
        em_routing(**arguments, inverse_temperature=TEMPERATURES)
    assert (caught.value.argument, caught.value.value) == (name, value)
    assert expected in caught.value.expected


@pytest.mark.parametrize(
    ("arguments", "argument", "value"),
    [
        (dict(iterations=3, inverse_temperature=0.1), "inverse_temperature", 0.1),
        (dict(iterations=4, inverse_temperature=TEMPERATURES), "inverse_temperature", 3),
        (dict(iterations=0, inverse_temperature=TEMPERATURES), "iterations", 0),
        (dict(gradient="x", inverse_temperature=TEMPERATURES), "gradient", "x"),
    ],
)
def test_wrong_arguments_are_refused(em_problem, arguments, argument, value):
    with pytest.raises(ArgumentError) as caught:
        em_routing(*em_problem, **arguments)
    assert (caught.value.argument, caught.value.value) == (argument, value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_of_any_argument_are_routed_in_float32(em_problem, dtype):
    narrow = [tensor.to(dtype) for tensor in em_problem]
    options = dict(inverse_temperature=TEMPERATURES, variance_epsilon=0.01)
    routed = em_routing(*narrow, 3, **options)
    for ours, expected in zip(routed, em_routing(*(tensor.double() for tensor in narrow), 3, **options), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), expected, rtol=1e-3, atol=1e-3)
