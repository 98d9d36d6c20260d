"""Dynamic routing against Procedure 1 of Sabour 2017 as printed, with its logits b stored."""

import inspect

import pytest
import torch

from capsbench_kernels import ArgumentError, dynamic_routing, dynamic_sums, squash


def squash_as_printed(s):
    norm = s.norm(dim=-1, keepdim=True)
    return norm**2 / (1 + norm**2) * s / norm


def procedure_1(poses, weights, iterations, squash=squash_as_printed, leaky=False, bias=0.0):
    """Runs lines 2 to 7 with votes and logits in memory; leaky: one more logit of 0, whose share is dropped."""
    votes = torch.einsum("nird,ijde->nijre", poses, weights).flatten(3)
    logits = torch.zeros(votes.shape[:3], dtype=votes.dtype)
    for _ in range(iterations):
        coupling = (
            torch.cat([0 * logits[..., :1], logits], dim=2).softmax(dim=2)[..., 1:] if leaky else logits.softmax(dim=2)
        )
        outputs = squash(torch.einsum("nij,nijh->njh", coupling, votes) + bias)
        logits = logits + torch.einsum("nijh,njh->nij", votes, outputs)
    return outputs


@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
def test_values_and_gradients_are_those_of_procedure_1(problem, iterations):
    made = problem(rows=1, depth=3, columns=4)
    poses, weights = made["poses"].requires_grad_(), made["weights"].requires_grad_()
    ours = dynamic_routing(poses, weights, iterations)
    theirs = procedure_1(poses, weights, iterations)
    torch.testing.assert_close(ours.flatten(2), theirs)

    direction = torch.randn(theirs.shape, dtype=torch.double)
    for mine, expected in zip(
        torch.autograd.grad((ours.flatten(2) * direction).sum(), (poses, weights)),
        torch.autograd.grad((theirs * direction).sum(), (poses, weights)),
        strict=True,
    ):
        torch.testing.assert_close(mine, expected)


def test_a_matrix_pose_keeps_its_rows(problem):
    made = problem(rows=4, columns=2)
    assert dynamic_routing(made["poses"], made["weights"]).shape == (3, 4, 4, 2)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_gradient_last_takes_the_coupling_coefficients_for_constants(problem, backend):
    """Several implementations route on detached votes, and once more, at the end, on the votes themselves."""
    made = problem(rows=1)
    poses, weights = made["poses"].requires_grad_(), made["weights"].requires_grad_()
    last = dynamic_routing(poses, weights, 3, gradient="last", backend=backend)
    votes = torch.einsum("nird,ijde->nije", poses, weights)
    logits = torch.zeros(votes.shape[:3], dtype=votes.dtype)
    for _ in range(2):
        outputs = squash(torch.einsum("nij,nijh->njh", logits.softmax(dim=2), votes.detach()))
        logits = logits + torch.einsum("nijh,njh->nij", votes.detach(), outputs)
    expected = squash(torch.einsum("nij,nijh->njh", logits.softmax(dim=2), votes))
    torch.testing.assert_close(last.flatten(2), expected)
    for ours, theirs in zip(
        torch.autograd.grad(last.square().sum(), (poses, weights)),
        torch.autograd.grad(expected.square().sum(), (poses, weights)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("scale", [1e4, 1e-6])
def test_large_and_tiny_votes_stay_finite(problem, scale):
    made = problem(rows=1)
    poses = (made["poses"].float() * scale).requires_grad_()
    outputs = dynamic_routing(poses, made["weights"].float(), 3)
    outputs.sum().backward()
    assert outputs.isfinite().all()
    assert poses.grad.isfinite().all()


@pytest.mark.parametrize(("argument", "value"), [("iterations", 0), ("gradient", "x")])
def test_wrong_arguments_are_refused(problem, argument, value):
    made = problem()
    with pytest.raises(ArgumentError) as caught:
        dynamic_routing(made["poses"], made["weights"], **{argument: value})
    assert (caught.value.argument, caught.value.value) == (argument, value)


def efficient_as_printed(s):
    norm = s.norm(dim=-1, keepdim=True)
    return (1 - 1 / torch.e**norm) * s / norm


def unit(s):
    return s / s.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize(
    ("variant", "printed"), [("sabour", squash_as_printed), ("efficient", efficient_as_printed), ("unit", unit)]
)
@pytest.mark.parametrize("leaky", [False, True])
def test_the_variants_are_those_of_the_papers(problem, variant, printed, leaky, backend):
    made = problem(rows=1, depth=3, columns=4)
    poses, weights = made["poses"].requires_grad_(), made["weights"].requires_grad_()
    bias = torch.randn(4, 4, dtype=torch.double, requires_grad=True)
    ours = dynamic_routing(poses, weights, 3, variant=variant, leaky=leaky, bias=bias, backend=backend).flatten(2)
    theirs = procedure_1(poses, weights, 3, printed, leaky, bias)
    torch.testing.assert_close(ours, theirs)
    for mine, expected in zip(
        torch.autograd.grad(ours.square().sum() + ours.sum(), (poses, weights, bias)),
        torch.autograd.grad(theirs.square().sum() + theirs.sum(), (poses, weights, bias)),
        strict=True,
    ):
        torch.testing.assert_close(mine, expected)


def read_defaults(function):
    parameters = inspect.signature(function).parameters
    return {name: p.default for name, p in parameters.items() if p.default not in (p.empty, None)}


def test_its_defaults_are_the_papers():
    of_both = {"gradient": "all", "variant": "sabour", "leaky": False, "backend": "auto"}
    assert read_defaults(dynamic_routing) == {"iterations": 3, **of_both}
    assert read_defaults(dynamic_sums) == of_both
