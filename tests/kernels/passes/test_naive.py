"""The vote pass against its formulas, written here once more as loops over children and parents."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import capsbench_kernels
from capsbench_kernels import Moments, Parents

vote_pass = partial(capsbench_kernels.vote_pass, backend="reference")


def moments_by_loops(poses, weights, parents, activations=None, offset=None):
    """Computes S0, S1 and S2 one number at a time."""
    problems, children, rows, _ = poses.shape
    count, columns = weights.shape[1], weights.shape[3]
    values = rows * columns
    mass = torch.zeros(problems, count, dtype=poses.dtype)
    first = torch.zeros(problems, count, values, dtype=poses.dtype)
    second = torch.zeros_like(first)
    for n in range(problems):
        for i in range(children):
            votes, logits = [], []
            for j in range(count):
                vote = poses[n, i] @ weights[i, j]
                if offset is not None:
                    vote = vote + offset[n if offset.shape[0] > 1 else 0, i]
                vote = vote.flatten()
                logit = 0.0
                if parents.bias is not None:
                    logit = logit + parents.bias[n, j].item()
                if parents.direction is not None:
                    logit += sum(parents.direction[n, j, h].item() * vote[h].item() for h in range(values))
                if parents.mean is not None:
                    for h in range(values):
                        distance = vote[h].item() - parents.mean[n, j, h].item()
                        logit -= 0.5 * parents.precision[n, j, h].item() * distance**2
                votes.append(vote)
                logits.append(logit)
            largest = max(logits)
            powers = [math.exp(logit - largest) for logit in logits]
            for j in range(count):
                share = powers[j] / sum(powers) * (1.0 if activations is None else activations[n, i].item())
                moved = votes[j] if parents.centre is None else votes[j] - parents.centre[n, j]
                mass[n, j] += share
                first[n, j] += share * moved
                second[n, j] += share * moved**2
    return Moments(mass, first, second)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 4)] * 6),
    given_fields=st.sets(st.sampled_from(["bias", "direction", "gaussian", "centre", "activations", "offset"])),
)
def test_moments_are_those_of_the_formulas(sizes, given_fields):
    generator = torch.Generator().manual_seed(sum(sizes))
    problems, children, count, rows, depth, columns = sizes

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.double)

    values = (problems, count, rows * columns)
    parents = Parents(
        bias=draw(problems, count) if "bias" in given_fields else None,
        direction=draw(*values) if "direction" in given_fields else None,
        mean=draw(*values) if "gaussian" in given_fields else None,
        precision=draw(*values).square() if "gaussian" in given_fields else None,
        centre=draw(*values) if "centre" in given_fields else None,
    )
    activations = draw(problems, children).sigmoid() if "activations" in given_fields else None
    offset = draw(problems, children, rows, columns) if "offset" in given_fields else None
    problem = (draw(problems, children, rows, depth), draw(children, count, depth, columns), parents)

    got = vote_pass(*problem, activations, offset)
    for name, ours, expected in zip(Moments._fields, got, moments_by_loops(*problem, activations, offset), strict=True):
        torch.testing.assert_close(ours, expected, msg=lambda text, name=name: f"{name}: {text}")


def test_each_child_is_shared_out_wholly(problem):
    made = problem()
    mass = vote_pass(**made).mass
    torch.testing.assert_close(mass.sum(dim=1), made["activations"].sum(dim=1))


def test_gradients_are_those_of_finite_differences(problem):
    made = problem(problems=2, children=3, parents=2, rows=2, depth=2, columns=2)
    belief = made.pop("parents")
    leaves = [tensor.requires_grad_() for tensor in (*made.values(), *belief[:4])]

    def moments(poses, weights, activations, offset, bias, direction, mean, precision):
        parents = Parents(bias, direction, mean, precision, belief.centre)
        return vote_pass(poses, weights, parents, activations, offset)

    assert torch.autograd.gradcheck(moments, leaves)


def test_the_centre_is_held_constant(problem):
    made = problem()
    centre = made["parents"].centre.requires_grad_()
    made["poses"].requires_grad_()
    vote_pass(**made).second.sum().backward()
    assert centre.grad is None


def test_non_contiguous_input_gives_the_same(problem):
    made = problem()
    expected = vote_pass(**made)
    scattered = {
        name: tensor.transpose(0, -1).contiguous().transpose(0, -1)
        for name, tensor in made.items()
        if isinstance(tensor, torch.Tensor)
    }
    assert not scattered["poses"].is_contiguous()
    for ours, theirs in zip(vote_pass(parents=made["parents"], **scattered), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_same_input_gives_the_same_bits(problem):
    made = problem(children=50)
    for first, second in zip(vote_pass(**made), vote_pass(**made), strict=True):
        assert torch.equal(first, second)


def test_the_log_normaliser_is_that_of_the_softmax_over_the_parents(problem):
    made = problem()
    votes = torch.einsum("nird,ijde->nijre", made["poses"], made["weights"]) + made["offset"].unsqueeze(2)
    belief, votes = made["parents"], votes.flatten(3)
    logits = belief.bias.unsqueeze(1) + torch.einsum("nijh,njh->nij", votes, belief.direction)
    logits -= torch.einsum("nijh,njh->nij", (votes - belief.mean.unsqueeze(1)).square(), belief.precision) / 2
    arguments = (made["poses"], made["weights"], belief, made["offset"])
    normaliser = capsbench_kernels.log_normaliser(*arguments, backend="reference")
    torch.testing.assert_close(normaliser, logits.logsumexp(dim=2))
    # A given one takes its place: shares need not sum to 1 over these parents.
    moments = vote_pass(**made, log_normaliser=normaliser + math.log(2))
    for scaled, alone in zip(moments, vote_pass(**made), strict=True):
        torch.testing.assert_close(scaled, alone / 2)


@pytest.mark.parametrize("constant", [False, True])
def test_constant_shares_have_no_gradient_of_their_belief(problem, constant):
    made = problem()
    belief = made.pop("parents")
    bias = belief.bias.clone().requires_grad_()
    weights = made.pop("weights").requires_grad_()
    moments = vote_pass(**made, weights=weights, parents=belief._replace(bias=bias), constant_shares=constant)
    of_bias, of_weights = torch.autograd.grad(moments.first.square().sum(), (bias, weights), allow_unused=True)
    assert of_weights.any()
    assert (of_bias is None or not of_bias.any()) == constant
