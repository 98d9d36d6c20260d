"""The CPU kernels against the reference: sums and every gradient by name."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from capsbench_kernels import Parents, dynamic_routing, em_routing, vote_pass
from tests.kernels.passes.cases import FIELDS, assert_close_by_name, draw_problem, run_pass


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, n) for n in (5, 20, 5, 4, 5, 6)]),
    fields=st.sets(st.sampled_from(FIELDS)),
    shared_offset=st.booleans(),
)
def test_sums_and_gradients_are_those_of_the_reference(sizes, fields, shared_offset):
    tensors = draw_problem(sizes, fields, shared_offset=shared_offset)
    for ours, theirs in zip(run_pass(tensors, "cpu"), run_pass(tensors, "reference"), strict=True):
        assert_close_by_name(ours, theirs, 1e-11)


@pytest.mark.parametrize("fields", [["direction"], ["bias", "gaussian", "centre", "activations"], FIELDS])
@pytest.mark.parametrize("sizes", [(9, 300, 10, 1, 8, 16), (33, 72, 16, 4, 4, 4)], ids=["vectors", "matrices"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.double, 1e-12), (torch.float, 3e-6)])
def test_several_tiles_and_blocks_make_no_difference(fields, sizes, dtype, tolerance):
    expected = run_pass(draw_problem(sizes, fields), "reference")
    ours = run_pass(draw_problem(sizes, fields, dtype), "cpu")
    for mine, theirs in zip(ours, expected, strict=True):
        assert_close_by_name(mine, theirs, tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_width_poses_are_summed_in_float32(dtype):
    tensors = draw_problem((5, 40, 3, 2, 4, 4), ["direction", "offset"])
    halved = {
        name: tensor.detach().to(dtype if name in ("poses", "weights", "offset") else torch.float).requires_grad_()
        for name, tensor in tensors.items()
    }
    exact = {name: tensor.detach().double().requires_grad_() for name, tensor in halved.items()}
    sums, gradients = run_pass(halved, "cpu")
    expected_sums, expected_gradients = run_pass(exact, "reference")
    assert {sums[name].dtype for name in sums} == {torch.float}
    assert_close_by_name(sums, expected_sums, 1e-6)  # the votes are exact products of the rounded poses
    assert gradients["poses"].dtype == dtype
    assert_close_by_name(gradients, expected_gradients, 2 * torch.finfo(dtype).eps)


def test_gradients_are_those_of_finite_differences():
    leaves = draw_problem((2, 3, 2, 2, 2, 2), ["bias", "direction", "gaussian", "activations", "offset"])
    names = list(leaves)

    def moments(*tensors):
        given_tensors = dict(zip(names, tensors, strict=True))
        belief = Parents(**{name: given_tensors.get(name) for name in Parents._fields})
        poses, weights = given_tensors["poses"], given_tensors["weights"]
        return vote_pass(poses, weights, belief, given_tensors["activations"], given_tensors["offset"], "cpu")

    assert torch.autograd.gradcheck(moments, tuple(leaves.values()))


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_routings_are_those_of_the_reference(iterations):
    tensors = draw_problem((6, 20, 3, 4, 4, 4), ["activations"])
    betas = [torch.full((3,), value, dtype=torch.double, requires_grad=True) for value in (0.3, -0.2)]
    leaves = [*tensors.values(), *betas]

    def routed(backend):
        poses, weights, activations = tensors["poses"], tensors["weights"], tensors["activations"]
        by_em = em_routing(
            poses, weights, activations, *betas, iterations, inverse_temperature=[0.5] * 3, backend=backend
        )
        outputs = [dynamic_routing(poses, weights, iterations, backend=backend), *by_em]
        return [*outputs, *torch.autograd.grad(sum(output.square().sum() for output in outputs), leaves)]

    for ours, theirs in zip(routed("cpu"), routed("reference"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_nan_in_one_problem_stays_there():
    tensors = {name: tensor.detach() for name, tensor in draw_problem((7, 20, 3, 2, 2, 2), ["gaussian"]).items()}
    tensors["poses"][3, 5] = float("nan")
    belief = Parents(mean=tensors["mean"], precision=tensors["precision"])
    first = vote_pass(tensors["poses"], tensors["weights"], belief, backend="cpu").first
    assert first[3].isnan().all()
    assert first[[0, 1, 2, 4, 5, 6]].isfinite().all()


@pytest.mark.parametrize("fields", [[], ["direction"], ["bias", "gaussian", "activations", "log_normaliser"]])
def test_constant_shares_are_those_of_the_reference(fields):
    made = {}
    for backend in ("cpu", "reference"):
        tensors = draw_problem((6, 40, 3, 2, 3, 4), fields)
        belief = Parents(**{name: tensors.get(name) for name in Parents._fields})
        moments = vote_pass(
            tensors["poses"],
            tensors["weights"],
            belief,
            tensors.get("activations"),
            backend=backend,
            log_normaliser=tensors.get("log_normaliser"),
            constant_shares=True,
        )
        leaves = list(tensors.values())
        made[backend] = torch.autograd.grad(
            sum(moment.square().sum() for moment in moments), leaves, allow_unused=True, materialize_grads=True
        )
    for ours, theirs in zip(made["cpu"], made["reference"], strict=True):
        torch.testing.assert_close(ours, theirs)
