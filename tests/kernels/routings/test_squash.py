"""The squash against the papers' formulas in float64, at 0, for short and long vectors and in 16 bits."""

import math

import pytest
import torch
from torch.autograd.functional import hessian, jacobian

from capsbench_kernels import SQUASHES, ArgumentError, squash, vector_length

DIRECTION = torch.tensor([0.6, 0.0, -0.8], dtype=torch.double)

LENGTHS = {
    "sabour": lambda length: length**2 / (1 + length**2),
    "efficient": lambda length: -math.expm1(-length),
    "unit": lambda length: min(1.0, length / 1e-6),
}
"""The length that each variant gives a vector of a length."""

DERIVATIVES_AT_0 = {"sabour": 0.0, "efficient": 1.0, "unit": 1e6}


def test_squash_shrinks_below_1_and_keeps_the_direction():
    vectors = torch.tensor([[3.0, 4.0], [0.3, 0.4], [3e4, 4e4]])
    squashed = squash(vectors)
    torch.testing.assert_close(squashed.norm(dim=1), torch.tensor([25 / 26, 0.25 / 1.25, 1.0]))
    torch.testing.assert_close(squashed / squashed.norm(dim=1, keepdim=True), torch.tensor([[0.6, 0.8]]).expand(3, 2))


@pytest.mark.parametrize("variant", SQUASHES)
@pytest.mark.parametrize("length", [0.0, 1e-12, 1e-8, 9e-7, 1.1e-6, 1e-4, 9.9e-4, 1.01e-3, 0.1, 1.0, 30.0, 1e6])
def test_lengths_are_those_of_the_formulas(variant, length):
    for dtype, tolerance in ((torch.double, 1e-14), (torch.float, 3e-7)):
        squashed = squash((length * DIRECTION).to(dtype), variant=variant)
        expected = LENGTHS[variant](length) * DIRECTION
        torch.testing.assert_close(squashed.double(), expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("length", [0.0, 1e-12, 1e-7, 9.99e-4, 1.001e-3, 0.1])
def test_the_derivatives_of_efficient_are_those_of_its_series(length):
    """``f(l) = (1 - e^-l) / l``, so that the vector's derivative is ``f + f' s s^T / l``, along the vector ``e^-l``."""
    vectors = length * DIRECTION
    along = jacobian(lambda s: squash(s, variant="efficient"), vectors) @ DIRECTION
    torch.testing.assert_close(along, math.exp(-length) * DIRECTION, rtol=1e-13, atol=0)
    if length:
        second = hessian(lambda s: squash(s, variant="efficient") @ DIRECTION, vectors)
        torch.testing.assert_close((DIRECTION @ second @ DIRECTION).item(), -math.exp(-length), rtol=1e-11, atol=0)


@pytest.mark.parametrize("variant", SQUASHES)
def test_derivatives_at_0_are_finite(variant):
    zero = torch.zeros(3, dtype=torch.double)
    first = jacobian(lambda s: squash(s, variant=variant), zero)
    torch.testing.assert_close(first, DERIVATIVES_AT_0[variant] * torch.eye(3, dtype=torch.double))
    for component in range(3):
        second = hessian(lambda s, component=component: squash(s, variant=variant)[component], zero)
        assert torch.equal(second, torch.zeros_like(second))


@pytest.mark.parametrize("variant", SQUASHES)
@pytest.mark.parametrize("length", [1e-4, 1e-2, 1.0, 50.0])
def test_derivatives_of_first_and_second_order(variant, length):
    vectors = (length * torch.randn(2, 3, 4, dtype=torch.double)).requires_grad_()
    options = dict(eps=1e-5 * length, atol=1e-4 / length, rtol=1e-5)
    assert torch.autograd.gradcheck(lambda s: squash(s, dim=1, variant=variant), vectors, **options)
    assert torch.autograd.gradgradcheck(lambda s: squash(s, dim=1, variant=variant), vectors, **options)


@pytest.mark.parametrize("variant", SQUASHES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("length", [1e-3, 0.3, 4.0, 283.0, 2e4])
def test_16_bits_are_squashed_in_float32_and_rounded_once(variant, dtype, length):
    narrow = (length * DIRECTION).to(dtype).requires_grad_()
    wide = narrow.detach().float().requires_grad_()
    squashed, expected = squash(narrow, variant=variant), squash(wide, variant=variant)
    assert torch.equal(squashed, expected.to(dtype))
    weights = torch.tensor([1.0, 2.0, 3.0])
    (gradient,) = torch.autograd.grad((squashed.float() * weights).sum(), narrow)
    (expected_gradient,) = torch.autograd.grad((expected * weights.to(dtype).float()).sum(), wide)
    assert torch.equal(gradient, expected_gradient.to(dtype))


@pytest.mark.parametrize("variant", SQUASHES)
def test_a_long_vector_of_float16_has_length_1(variant):
    squashed = squash(torch.full((1, 8), 100.0).half(), variant=variant)
    torch.testing.assert_close(squashed.float().norm(), torch.tensor(1.0), rtol=0, atol=1e-3)


def test_the_length_of_vectors_is_torchs_norm_with_zeros_for_its_nans():
    vectors = torch.randn(3, 4, 5, dtype=torch.double)
    vectors[0, :, 0] = 0
    vectors.requires_grad_()
    lengths, norms = vector_length(vectors, dim=1), torch.linalg.vector_norm(vectors, dim=1)
    assert torch.equal(lengths, norms)
    assert vector_length(vectors, dim=1, keepdim=True).shape == (3, 1, 5)
    ours, theirs = (
        torch.autograd.grad(each.square().mul(each).sum(), vectors, create_graph=True)[0] for each in (lengths, norms)
    )
    assert torch.equal(ours, theirs)
    ours, theirs = (torch.autograd.grad(each.sum(), vectors)[0] for each in (ours, theirs))
    assert torch.equal(ours[0, :, 0], torch.zeros(4, dtype=torch.double))
    torch.testing.assert_close(ours[1:], theirs[1:])


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # torch's own, in forward mode
def test_transformations_of_torch_func():
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.double)
    batched = torch.func.vmap(torch.func.hessian(lambda s: vector_length(s).square()))(vectors)
    torch.testing.assert_close(batched[0], 2 * torch.eye(2, dtype=torch.double))
    assert batched.isfinite().all()


def test_dynamo_compiles_without_a_break():
    explanation = torch._dynamo.explain(lambda s: vector_length(squash(s)).sum())(torch.randn(3, 4, requires_grad=True))
    assert (explanation.graph_count, explanation.graph_break_count) == (1, 0)


def test_an_unknown_squash_is_refused():
    with pytest.raises(ArgumentError) as caught:
        squash(torch.ones(3), variant="cubic")
    assert (caught.value.argument, caught.value.value) == ("squash", "cubic")
    assert caught.value.expected.split(", ") == list(SQUASHES)
