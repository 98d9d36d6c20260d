"""EM routing against Procedure 1 of Hinton 2018 as printed, with densities and R in memory."""

import inspect
import math

import pytest
import torch

from capsbench_kernels import ArgumentError, em_routing, observe_vote_passes

TEMPERATURES = [0.2, 0.3, 0.4]


def procedure_1(poses, weights, activations, beta_a, beta_u, iterations, epsilon, annealing=1.0, mass_scale=1.0):
    """Runs M-STEP and E-STEP line by line."""
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


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("temperatures", [[0.1] * 3, TEMPERATURES])
@pytest.mark.parametrize("votes", [0.0, 1e-6, 1.0, 1e4])
@pytest.mark.parametrize("activation", [0.0, 1.0])
def test_degenerate_votes_give_finite_values_and_gradients(backend, temperatures, votes, activation):
    """All votes equal, of any size, from children that are all inactive or all certain, in float32."""
    poses = torch.full((2, 6, 4, 4), votes, requires_grad=True)
    weights = torch.eye(4).expand(6, 3, 4, 4)
    activations = torch.full((2, 6), activation, requires_grad=True)
    betas = torch.zeros(3, requires_grad=True)
    means, parents = em_routing(
        poses, weights, activations, betas, betas, 3, inverse_temperature=temperatures, backend=backend
    )
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


SHARP = [0.0005, 0.000975, 0.00143]


def jump(seed, scale, backend, dtype, far=0.0, **options):
    """Routes with a sharp E-step, under which parents jump onto one child; returns poses, activations and gradients."""
    torch.manual_seed(seed)
    poses, weights = scale * torch.randn(4, 12, 4, 4), torch.randn(12, 5, 4, 4)
    activations = (torch.rand(4, 12) > 0.5).float()
    direction = torch.randn(4, 5, 4, 4)
    inputs = [tensor.to(dtype).requires_grad_() for tensor in (poses, weights)]
    arguments = (*inputs, activations.to(dtype), *torch.zeros(2, 5, dtype=dtype), 3)
    offset = torch.full((1, 12, 4, 4), far, dtype=dtype)
    options = dict(inverse_temperature=SHARP, mass_scale=41.7, offset=offset, backend=backend) | options
    means, parents = em_routing(*arguments, **options)
    gradients = torch.autograd.grad((means * direction.to(dtype)).sum() / scale + parents.sum(), inputs)
    return [means.detach(), parents.detach(), *gradients]


@pytest.mark.parametrize(
    ("scale", "backend", "options"),
    [
        *((scale, backend, {}) for scale in (1, 10, 100, 1000) for backend in ("reference", "cpu")),
        (1000, "cpu", {"gradient": "last"}),
        (1000, "cpu", {"normaliser": lambda log_sums: log_sums + 0.5}),
    ],
)
def test_a_parent_that_jumps_onto_one_child_keeps_its_variance_in_float32(scale, backend, options):
    for seed in range(10):
        single = jump(seed, scale, backend, torch.float32, **options)
        double = jump(seed, scale, "reference", torch.float64, **options)
        assert (single[1] - double[1]).abs().amax() < 1e-4
        for ours, expected in zip(single, double, strict=True):
            assert (ours - expected).abs().amax() < 5e-4 * expected.abs().amax()


@pytest.mark.parametrize(("scale", "backend"), [(1, "reference"), (1, "cpu"), (10, "cpu"), (100, "cpu"), (1000, "cpu")])
def test_votes_far_from_zero_keep_their_variance_in_float32(scale, backend):
    """The first pass has no mean yet, so its moments are about 0. Votes near 1000 are themselves rounded by 6e-5."""
    for seed in range(10):
        single = jump(seed, scale, backend, torch.float32, far=1e3)
        double = jump(seed, scale, "reference", torch.float64, far=1e3)
        assert (single[1] - double[1]).abs().amax() < (1e-3 if scale == 1 else 1e-4)


def test_gradients_through_moments_about_another_centre_are_exact():
    """First and second derivatives, also with an inactive child; the very first pass is about 0, far from the votes."""
    generator = torch.Generator().manual_seed(0)
    poses, weights = (torch.randn(*shape, generator=generator).double() for shape in ((2, 3, 1, 2), (3, 2, 2, 2)))
    activations = torch.tensor([[0.0, 0.5, 1.0], [1.0, 0.5, 0.5]]).double()
    offset = torch.full((1, 3, 1, 2), 100.0).double()

    def route(*inputs):
        options = dict(inverse_temperature=[0.1, 0.1], variance_epsilon=0.1, offset=offset, backend="reference")
        means, parents = em_routing(*inputs, 2, **options)
        return means - 100, parents

    inputs = [tensor.requires_grad_() for tensor in (poses, weights, activations, *torch.zeros(2, 2).double())]
    assert torch.autograd.gradcheck(route, inputs, eps=1e-5)
    assert torch.autograd.gradgradcheck(route, inputs, eps=1e-5, fast_mode=True)


def test_torch_func_maps_over_problems_that_are_far_from_their_centre_and_others():
    """Under vmap no value can be read, so every pass is repeated."""
    torch.manual_seed(0)
    poses, weights, zeros = torch.randn(2, 12, 1, 4), torch.randn(12, 5, 4, 4), torch.zeros(5)
    poses[1] *= 1000

    def route(poses):
        activations = torch.ones(1, 12)
        options = dict(inverse_temperature=SHARP, backend="reference")
        return em_routing(poses[None], weights, activations, zeros, zeros, 3, **options)[1][0]

    torch.testing.assert_close(torch.func.vmap(route)(poses), torch.stack([route(problem) for problem in poses]))


def test_moments_about_another_centre_leave_the_other_problems_as_they_are(monkeypatch):
    """Votes far from their centre elsewhere in the batch do not change a bit of a problem."""
    torch.manual_seed(0)
    arguments = (torch.randn(2, 12, 4, 4), torch.randn(12, 5, 4, 4), torch.ones(2, 12), *torch.zeros(2, 5), 3)
    offset = torch.tensor([0.0, 1e3])[:, None, None, None].expand(2, 12, 4, 4)
    options = dict(inverse_temperature=SHARP, annealing=0.1, offset=offset)
    means, parents = em_routing(*arguments, **options)
    monkeypatch.setattr("capsbench_kernels.passes.recentre.CANCELLATION", math.inf)
    plain_means, plain_parents = em_routing(*arguments, **options)
    assert torch.equal(means[0], plain_means[0])
    assert torch.equal(parents[0], plain_parents[0])
    assert not torch.equal(parents[1], plain_parents[1])


def test_a_pass_that_is_repeated_for_its_precision_is_not_observed():
    passes = []
    with observe_vote_passes(passes.append):
        jump(0, 1000, "reference", torch.float32)
    assert len(passes) == 3


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


def test_its_defaults():
    parameters = inspect.signature(em_routing).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default not in (p.empty, None)}
    assert defaults == {
        "iterations": 3,
        "variance_epsilon": 5e-4,
        "mass_scale": 1.0,
        "annealing": 1.0,
        "gradient": "all",
        "backend": "auto",
    }
