"""Second derivatives on every backend: against finite differences, plain autograd on votes in memory, and the reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.functional import hessian, hvp

from capsbench_kernels import Parents, dynamic_routing, em_routing, log_normaliser, squash, vote_pass
from capsbench_kernels.passes import ops
from tests.kernels.passes.cases import FIELDS, draw_problem
from tests.kernels.routings.test_dynamic import procedure_1 as dynamic_procedure
from tests.kernels.routings.test_em import TEMPERATURES
from tests.kernels.routings.test_em import procedure_1 as em_procedure

BELIEF = ("bias", "direction", "mean", "precision")
SIZES = (2, 3, 2, 2, 2, 2)


def moments_and_normaliser(tensors, backend, **options):
    """Returns the sums of a pass in one tuple."""
    belief = Parents(**{name: tensors.get(name) for name in Parents._fields})
    poses, weights, offset = tensors["poses"], tensors["weights"], tensors.get("offset")
    given_normaliser = tensors.get("log_normaliser")
    sums = tuple(
        vote_pass(
            poses,
            weights,
            belief,
            tensors.get("activations"),
            offset,
            backend,
            log_normaliser=given_normaliser,
            **options,
        )
    )
    return sums if given_normaliser is not None else (*sums, log_normaliser(poses, weights, belief, offset, backend))


def gradient_penalty(sums, leaves):
    """Returns the squared length of the gradient of a mix of the sums, and its own gradient by every leaf."""
    total = sum((each * torch.linspace(-1, 1, each.numel(), dtype=each.dtype).view_as(each)).sum() for each in sums)
    gradients = torch.autograd.grad(total, leaves, create_graph=True, allow_unused=True, materialize_grads=True)
    penalty = sum(gradient.square().sum() for gradient in gradients)
    return penalty, *torch.autograd.grad(penalty, leaves, allow_unused=True, materialize_grads=True)


def test_the_hessian_vector_product_of_dynamic_routing():
    torch.manual_seed(0)
    raw, weights = torch.randn(2, 6, 1, 4, dtype=torch.double), torch.randn(6, 3, 4, 5, dtype=torch.double)

    def energy(poses):
        return dynamic_routing(squash(poses), weights, 3, backend="cpu").square().sum()

    product = hvp(energy, raw, torch.ones_like(raw))[1]
    torch.testing.assert_close(
        product.flatten()[:4], torch.tensor([0.3311, -0.3285, -0.2313, 0.1161], dtype=torch.double), rtol=0, atol=5e-5
    )
    step = 1e-5
    ahead, behind = (torch.autograd.functional.jacobian(energy, raw + sign * step) for sign in (1, -1))
    torch.testing.assert_close(product, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("fields", "shared_offset"), [(FIELDS, False), (FIELDS[:-1], True), (["direction"], False), (["offset"], True)]
)
def test_second_derivatives_are_those_of_finite_differences(fields, shared_offset):
    tensors = draw_problem(SIZES, fields, shared_offset=shared_offset)
    leaves = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}

    def sums(*values):
        return moments_and_normaliser({**tensors, **dict(zip(leaves, values, strict=True))}, "cpu")

    assert torch.autograd.gradgradcheck(sums, tuple(leaves.values()), fast_mode=True)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 4)] * 6),
    fields=st.sets(st.sampled_from(FIELDS)),
    shared_offset=st.booleans(),
    constant_shares=st.booleans(),
)
def test_a_gradient_penalty_is_that_of_the_reference(sizes, fields, shared_offset, constant_shares):
    tensors = draw_problem(sizes, fields, shared_offset=shared_offset)
    leaves = [tensor for tensor in tensors.values() if tensor.requires_grad]
    ours, theirs = (
        gradient_penalty(moments_and_normaliser(tensors, backend, constant_shares=constant_shares), leaves)
        for backend in ("cpu", "reference")
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("leaf", ["poses", "weights", *BELIEF])
def test_one_input_alone_may_want_gradients(leaf):
    tensors = {name: tensor.detach() for name, tensor in draw_problem(SIZES, FIELDS[:-1]).items()}
    leaves = [tensors[leaf].requires_grad_()]
    ours, theirs = (gradient_penalty(moments_and_normaliser(tensors, each), leaves) for each in ("cpu", "reference"))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_dynamic_routing_against_autograd_on_all_votes(problem, backend, iterations):
    made = problem(problems=2, rows=1, columns=3)
    leaves = [made[name].requires_grad_() for name in ("poses", "weights")]
    ours = gradient_penalty([dynamic_routing(*leaves, iterations, backend=backend).flatten(2)], leaves)
    theirs = gradient_penalty([dynamic_procedure(*leaves, iterations)], leaves)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_em_routing_against_autograd_on_all_votes(problem, backend, iterations):
    """The moments are taken about a constant centre, on which neither the mean nor the variance depends."""
    made = problem(problems=2, children=6, parents=3, rows=2, depth=2, columns=2)
    betas = torch.randn(2, 3, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    leaves = [
        tensor.requires_grad_() for tensor in (made["poses"], made["weights"], made["activations"], *betas.clone())
    ]
    options = dict(inverse_temperature=TEMPERATURES, variance_epsilon=0.1, backend=backend)
    means, parents = em_routing(*leaves, iterations, **options)
    ours = gradient_penalty([means.flatten(2), parents], leaves)
    theirs = gradient_penalty(em_procedure(*leaves, iterations, 0.1), leaves)
    torch.testing.assert_close(ours, theirs)


def test_inputs_that_are_not_contiguous_keep_their_graph(problem):
    made = problem(problems=2, rows=2)
    leaf = made["poses"].transpose(0, 3).contiguous().requires_grad_()
    weights = made["weights"].transpose(1, 2).contiguous().requires_grad_()

    def penalty(backend):
        moments = vote_pass(leaf.transpose(0, 3), weights.transpose(1, 2), made["parents"], backend=backend)
        return gradient_penalty(moments, [leaf, weights])

    torch.testing.assert_close(penalty("cpu"), penalty("reference"))


def test_a_third_derivative(problem):
    made = problem(problems=1, children=2, parents=2, rows=1, depth=2, columns=2)

    def curvature(backend):
        def energy(poses):
            return dynamic_routing(poses, made["weights"], 2, backend=backend).square().sum()

        return torch.autograd.functional.jacobian(
            lambda poses: hessian(energy, poses, create_graph=True), made["poses"]
        )

    torch.testing.assert_close(curvature("cpu"), curvature("reference"))


def test_autocast_about_a_gradient_does_not_narrow_it(problem):
    made = problem(rows=1)
    poses, weights = made["poses"].float().requires_grad_(), made["weights"].float()

    def penalty():
        return gradient_penalty(vote_pass(poses, weights, Parents(), backend="cpu"), [poses])[0]

    expected = penalty()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(penalty(), expected)


def test_first_derivatives_keep_the_inputs_alone_and_make_no_votes(monkeypatch):
    """Only the inputs are saved between the passes; the reference is used for a gradient's own graph alone."""
    monkeypatch.setattr(ops, "vote_pass_reference", None)
    tensors = draw_problem((3, 40, 4, 2, 3, 3), FIELDS[:-1])
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        sums = moments_and_normaliser(tensors, "cpu")
    given = {tensor.data_ptr() for tensor in tensors.values()}
    assert {tensor.data_ptr() for tensor in saved if tensor is not None} == given
    torch.autograd.grad(sum(each.sum() for each in sums), tensors["poses"])
