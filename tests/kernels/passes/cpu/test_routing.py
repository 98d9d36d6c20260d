"""Whole routings on the CPU against the same routing by the reference: outputs and every gradient by name."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from capsbench_kernels import Parents, dynamic_routing, em_routing, observe_vote_passes, squash, vote_pass
from capsbench_kernels.passes.cpu import threads
from tests.kernels.passes.cases import assert_close_by_name, draw_problem

SIZES = st.tuples(*[st.integers(1, n) for n in (5, 40, 4, 5, 4, 6)])
MATRICES, VECTORS = (5, 100, 3, 4, 4, 4), (7, 100, 3, 1, 3, 6)
TEMPERATURES = [0.3, 0.6, 0.8, 1.0, 1.1]


@pytest.fixture(params=["one item a problem", "several items a problem"])
def cut(request, monkeypatch):
    """Lets a problem belong to one item or to several, and counts the passes that are run one by one."""
    if request.param.startswith("several"):
        monkeypatch.setattr(threads, "VOTE_VALUES_AN_ITEM", 1)


def draw_em(sizes, fields=("activations",), dtype=torch.double, **how):
    tensors = draw_problem(sizes, fields, dtype, **how)
    generator = torch.Generator().manual_seed(3)
    for name in ("beta_a", "beta_u"):
        tensors[name] = torch.randn(sizes[2], generator=generator, dtype=torch.double).to(dtype).requires_grad_()
    return tensors


def draw_dynamic(sizes, fields=(), dtype=torch.double, **how):
    tensors = draw_problem(sizes, [field for field in fields if field != "bias"], dtype, **how)
    if "bias" in fields:
        shape = sizes[2], sizes[3] * sizes[5]
        tensors["bias"] = torch.linspace(-0.3, 0.4, shape[0] * shape[1], dtype=dtype).view(shape).requires_grad_()
    return tensors


def route(routing, tensors, iterations, backend, **options):
    """Returns the outputs and the gradients of a mix of them, by name."""
    if routing is em_routing:
        options = dict(inverse_temperature=TEMPERATURES, mass_scale=0.2) | options
    elif "bias" in tensors:
        options["bias"] = tensors["bias"]
    names = ["poses", "weights", *(["activations", "beta_a", "beta_u"] if routing is em_routing else [])]
    arguments = [tensors[name] for name in names]
    outputs = routing(*arguments, iterations, offset=tensors.get("offset"), backend=backend, **options)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    generator = torch.Generator().manual_seed(1)
    mix = sum((each * torch.randn(each.shape, generator=generator, dtype=torch.double)).sum() for each in outputs)
    leaves = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
    gradients = torch.autograd.grad(mix, list(leaves.values()))
    return dict(enumerate(outputs)), dict(zip(leaves, gradients, strict=True))


def assert_as_by_reference(routing, tensors, iterations, tolerance=1e-9, **options):
    ours = route(routing, tensors, iterations, "cpu", **options)
    for mine, theirs in zip(ours, route(routing, tensors, iterations, "reference", **options), strict=True):
        for name, expected in theirs.items():
            # A gradient may be 0 but for rounding, such as that of one child's length through its direction.
            error = (mine[name] - expected).norm() / expected.norm().clamp_min(1e-3)
            assert error < tolerance, f"{name}: relative error {error:.1e}"


@settings(max_examples=25, deadline=None)
@given(SIZES, st.integers(1, 4), st.booleans(), st.sampled_from(["all", "last"]), st.sampled_from([1.0, 0.4]))
def test_em_is_that_of_the_reference(sizes, iterations, shared, gradient, annealing):
    tensors = draw_em(sizes, ["activations", "offset"], shared_offset=shared)
    assert_as_by_reference(em_routing, tensors, iterations, 1e-8, gradient=gradient, annealing=annealing)


@settings(max_examples=25, deadline=None)
@given(
    SIZES, st.integers(1, 4), st.sampled_from(["sabour", "efficient", "unit"]), st.sets(st.sampled_from(["bias", "offset"])),
    st.booleans(), st.booleans(), st.sampled_from(["all", "last"]),
)  # fmt: skip
def test_dynamic_is_that_of_the_reference(sizes, iterations, variant, fields, shared, leaky, gradient):
    tensors = draw_dynamic(sizes, fields, shared_offset=shared)
    assert_as_by_reference(dynamic_routing, tensors, iterations, 1e-8, variant=variant, leaky=leaky, gradient=gradient)


@pytest.mark.parametrize("sizes", [MATRICES, VECTORS], ids=["matrices", "vectors"])
@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
def test_several_items_of_a_problem_make_no_difference(cut, items, sizes, iterations):
    assert_as_by_reference(em_routing, draw_em(sizes, ["activations", "offset"]), iterations)
    assert_as_by_reference(dynamic_routing, draw_dynamic(sizes, ["offset", "bias"]), iterations)
    assert len(items["sweep_item"]) >= 2 * iterations


@pytest.mark.parametrize("sizes", [MATRICES, VECTORS], ids=["matrices", "vectors"])
@pytest.mark.parametrize("draw", [draw_em, draw_dynamic], ids=["em", "dynamic"])
def test_float32_is_as_exact_as_the_reference(cut, sizes, draw):
    routing = em_routing if draw is draw_em else dynamic_routing
    truth = route(routing, draw(sizes), 3, "reference")
    plain, ours = (route(routing, draw(sizes, dtype=torch.float), 3, backend) for backend in ("reference", "cpu"))
    for mine, theirs, exact in zip(ours, plain, truth, strict=True):
        for name, true in exact.items():
            allowed = 2 * (theirs[name] - true).norm() + 1e-6 * true.norm()
            assert (mine[name] - true).norm() <= allowed, name


@pytest.mark.parametrize("scale", [1e4, 1e-6, 0.0])
@pytest.mark.parametrize("active", [0.0, 1.0])
def test_degenerate_votes_are_those_of_passes_one_by_one(cut, monkeypatch, scale, active):
    """Votes far from 0, nearly equal, and equal, from children that are all inactive or all certain."""
    tensors = draw_em(MATRICES, dtype=torch.float)
    tensors["poses"] = (tensors["poses"] * scale).detach().requires_grad_()
    tensors["activations"] = torch.full_like(tensors["activations"], active).requires_grad_()
    ours = route(em_routing, tensors, 3, "cpu", annealing=0.1, mass_scale=1e-3)
    monkeypatch.setattr("capsbench_kernels.routings.em.find_backend", lambda backend, poses: None)
    one_by_one = route(em_routing, tensors, 3, "cpu", annealing=0.1, mass_scale=1e-3)
    for mine, theirs in zip(ours, one_by_one, strict=True):
        assert all(value.isfinite().all() for value in mine.values())
        assert_close_by_name(mine, theirs, 2e-3)


def test_a_spread_lost_to_cancellation_is_found_again(cut, items):
    """Votes far from the centre of the first pass: it is repeated about their mean."""
    tensors = draw_em(MATRICES, ["activations", "offset"])
    tensors["offset"] = (tensors["offset"].detach() + 1e3).requires_grad_()
    assert_as_by_reference(em_routing, tensors, 2, annealing=0.1)
    with_repetitions = len(items["sweep_item"])
    items["sweep_item"].clear()
    tensors["offset"] = (tensors["offset"].detach() - 1e3).requires_grad_()
    assert_as_by_reference(em_routing, tensors, 2, annealing=0.1)
    assert len(items["sweep_item"]) < with_repetitions


@pytest.mark.parametrize("draw", [draw_em, draw_dynamic], ids=["em", "dynamic"])
def test_the_bits_depend_neither_on_the_run_nor_on_the_threads(cut, draw):
    tensors, made, before = draw((9, 100, 3, 1, 3, 6), dtype=torch.float), [], torch.get_num_threads()
    routing = em_routing if draw is draw_em else dynamic_routing
    try:
        for count in (1, 2, 2, 3):
            torch.set_num_threads(count)
            outputs, gradients = route(routing, tensors, 3, "cpu")
            made.append([*outputs.values(), *gradients.values()])
    finally:
        torch.set_num_threads(before)
    for other in made[1:]:
        assert all(map(torch.equal, made[0], other))


@pytest.mark.parametrize("leaf", ["poses", "weights", "offset"])
@pytest.mark.parametrize("draw", [draw_em, draw_dynamic], ids=["em", "dynamic"])
def test_a_gradient_that_is_wanted_alone_is_the_same(cut, draw, leaf):
    routing = em_routing if draw is draw_em else dynamic_routing
    tensors = draw((5, 40, 3, 3, 2, 3), ["activations", "offset"] if draw is draw_em else ["offset"])
    _, every = route(routing, tensors, 3, "cpu")
    alone = {name: tensor.detach().requires_grad_(name == leaf) for name, tensor in tensors.items()}
    _, found = route(routing, alone, 3, "cpu")
    assert found.keys() == {leaf}
    assert torch.equal(found[leaf], every[leaf])


@pytest.mark.parametrize("draw", [draw_em, draw_dynamic], ids=["em", "dynamic"])
def test_what_is_allocated_is_all_written(cut, monkeypatch, draw):
    tensors, routing = draw((5, 130, 3, 3, 2, 3)), em_routing if draw is draw_em else dynamic_routing
    expected, empty = route(routing, tensors, 3, "cpu"), torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, **how: empty(*shape, **how).fill_(float("nan")))
    for ours, theirs in zip(route(routing, tensors, 3, "cpu"), expected, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("draw", [draw_em, draw_dynamic], ids=["em", "dynamic"])
def test_inputs_may_be_views_and_of_half_width(draw):
    tensors, routing = draw(MATRICES, dtype=torch.float), em_routing if draw is draw_em else dynamic_routing
    halved = {
        name: tensor.detach().to(torch.bfloat16 if name in ("poses", "weights") else torch.float).requires_grad_()
        for name, tensor in tensors.items()
    }
    exact = {name: tensor.detach().double().requires_grad_() for name, tensor in halved.items()}
    expected = route(routing, exact, 3, "reference")
    outputs, gradients = route(routing, halved, 3, "cpu")
    assert {output.dtype for output in outputs.values()} == {torch.float}
    assert {gradients[name].dtype for name in ("poses", "weights")} == {torch.bfloat16}
    assert_close_by_name(outputs, expected[0], 1e-5)
    assert_close_by_name(gradients, expected[1], 2 * torch.finfo(torch.bfloat16).eps)
    views = {
        name: tensor.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_()
        for name, tensor in tensors.items()
    }
    for ours, theirs in zip(route(routing, views, 3, "cpu"), route(routing, tensors, 3, "cpu"), strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("draw", [draw_em, draw_dynamic], ids=["em", "dynamic"])
def test_second_derivatives_are_those_of_the_reference(draw):
    tensors, routing = draw((2, 3, 2, 2, 2, 2)), em_routing if draw is draw_em else dynamic_routing
    second = {}
    for backend in ("cpu", "reference"):
        options = dict(inverse_temperature=TEMPERATURES) if routing is em_routing else {}
        outputs = routing(*tensors.values(), 2, backend=backend, **options)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        leaves = list(tensors.values())
        first = torch.autograd.grad(sum(out.square().sum() for out in outputs), leaves, create_graph=True)
        second[backend] = torch.autograd.grad(sum(gradient.square().sum() for gradient in first), leaves)
    torch.testing.assert_close(second["cpu"], second["reference"])


@pytest.mark.parametrize("draw", [draw_em, draw_dynamic], ids=["em", "dynamic"])
def test_observers_see_every_pass_of_a_routing_and_change_no_number(draw):
    tensors, routing = draw(MATRICES, dtype=torch.float), em_routing if draw is draw_em else dynamic_routing
    seen = []
    unobserved = route(routing, tensors, 3, "cpu")
    with observe_vote_passes(seen.append):
        observed = route(routing, tensors, 3, "cpu")
    assert len(seen) == 3
    for ours, theirs in zip(unobserved, observed, strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    # The last pass that was seen gives the outputs, up to rounding.
    _, _, parents, _, _, _, moments = seen[-1]
    means = parents.centre + moments.first / moments.mass.unsqueeze(2) if draw is draw_em else squash(moments.first)
    torch.testing.assert_close(means.view_as(unobserved[0][0]), unobserved[0][0], rtol=1e-4, atol=1e-5)


def test_a_pass_of_its_own_is_no_whole_routing(items):
    tensors = draw_problem(MATRICES, ["direction"])
    vote_pass(tensors["poses"], tensors["weights"], Parents(direction=tensors["direction"]), backend="cpu")
    assert len(items["sweep_item"]) == 1
