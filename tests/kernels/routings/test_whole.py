"""Whole routings as operators: torch's own checks, shapes alone, batches, and tangents that are right or refused."""

import functools

import pytest
import torch
from torch import func
from torch.autograd import forward_ad

from capsbench_kernels import ReferenceWarning, UnavailableBackend, dynamic_routing, em_routing
from capsbench_kernels.passes import api
from capsbench_kernels.passes.cpu import launch
from capsbench_kernels.routings.dynamic import ROUTE_DYNAMIC
from capsbench_kernels.routings.em import ROUTE_EM

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning"),  # torch's own, at its first forward mode
    pytest.mark.filterwarnings(
        "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
    ),  # opcheck's own
]

SETTINGS = {ROUTE_EM: ([0.1, 0.2], 0.01, 1.0, 0.5, 1e-9, 100.0), ROUTE_DYNAMIC: (2, 0, True)}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


POSES, WEIGHTS, STEP, MANY = draw(3, 5, 2, 2), draw(5, 3, 2, 3), draw(3, 5, 2, 2, seed=1), draw(4, 3, 5, 2, 2, seed=2)


def arguments_of(operator, rows=2):
    """Returns the arguments of an operator, with an offset that all problems share."""
    poses = draw(3, 5, rows, 2).requires_grad_()
    offset = draw(1, 5, rows, 3).requires_grad_()
    others = [draw(3, 5).sigmoid(), draw(3, seed=1), draw(3, seed=2)] if operator is ROUTE_EM else [draw(3, 3 * rows)]
    tensors = poses, draw(5, 3, 2, 3).requires_grad_(), offset, *(each.requires_grad_() for each in others)
    return *tensors, "cpu", False, *SETTINGS[operator]


def backward_arguments_of(operator, rows=2):
    """Returns the arguments of the operator of the gradients, all of which are wanted."""
    arguments, count = arguments_of(operator, rows), len(operator.tensors)
    results = operator.forward(*arguments)
    saved = [result.detach() for result in results[len(operator.outputs) :]]
    slopes = [torch.ones_like(result).requires_grad_() for result in results[: len(operator.outputs)]]
    return *arguments[:count], *saved, *slopes, *arguments[count:], [True] * count


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("operator", SETTINGS, ids=lambda operator: operator.name)
def test_torch_accepts_the_operators(operator, rows):
    pairs = [
        (operator.forward, arguments_of(operator, rows)),
        (operator.backward, backward_arguments_of(operator, rows)),
    ]
    for overload, arguments in pairs:
        assert set(torch.library.opcheck(overload, arguments).values()) == {"SUCCESS"}


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("operator", SETTINGS, ids=lambda operator: operator.name)
def test_shapes_alone_are_those_of_the_results(operator, rows):
    pairs = [
        (operator.forward, arguments_of(operator, rows)),
        (operator.backward, backward_arguments_of(operator, rows)),
    ]
    for overload, arguments in pairs:
        on_meta = [each.to("meta") if isinstance(each, torch.Tensor) else each for each in arguments]
        for result, shapes in zip(overload(*arguments), overload(*on_meta), strict=True):
            assert shapes.is_meta
            assert (shapes.shape, shapes.dtype, shapes.stride()) == (result.shape, result.dtype, result.stride())


@pytest.mark.parametrize("operator", SETTINGS, ids=lambda operator: operator.name)
def test_a_decomposed_operator_computes_the_same_without_a_kernel(operator):
    forward, backward = operator.decompose()[operator.forward], operator.decompose()[operator.backward]
    arguments = arguments_of(operator)
    count = len(operator.outputs)
    torch.testing.assert_close(forward(*arguments)[:count], operator.forward(*arguments)[:count])
    arguments = backward_arguments_of(operator)
    torch.testing.assert_close(backward(*arguments), operator.backward(*arguments))


def em_energy(poses, weights=WEIGHTS, *, backend):
    zeros = torch.zeros(3, dtype=torch.double)
    activations = torch.sigmoid(poses.sum((2, 3)))
    how = dict(inverse_temperature=[0.1, 0.2], variance_epsilon=0.1, backend=backend)
    means, parents = em_routing(poses, weights, activations, zeros, zeros, 2, **how)
    return means.sin().sum() + parents.sum()


def dynamic_energy(poses, weights=WEIGHTS, *, backend):
    return dynamic_routing(poses, weights, 2, backend=backend).sin().sum()


def push_through_gradient(f):
    """Returns the derivative of a gradient by the gradient of its result: the routing itself has run without forward mode."""
    poses = POSES.clone().requires_grad_()
    energy = f(poses)
    with forward_ad.dual_level():
        slope = forward_ad.make_dual(torch.ones((), dtype=torch.double), 2 * torch.ones((), dtype=torch.double))
        return forward_ad.unpack_dual(torch.autograd.grad(energy, poses, slope)[0]).tangent


TRANSFORMS = {
    "grad": lambda f: func.grad(f)(POSES),
    "grad of grad": lambda f: func.grad(lambda poses: func.grad(f)(poses).square().sum())(POSES),
    "vmap": lambda f: func.vmap(f)(MANY),
    "vmap of grad by weights": lambda f: func.vmap(func.grad(lambda w, u: f(u, w)), in_dims=(None, 0))(WEIGHTS, MANY),
    "a tangent of a gradient": push_through_gradient,
}
FORWARD = {
    "jvp": lambda f: func.jvp(f, (POSES,), (STEP,))[1],
    "hessian": lambda f: func.hessian(f)(POSES),
    "vmap of jvp": lambda f: func.vmap(lambda poses: func.jvp(f, (poses,), (STEP,))[1])(MANY),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("energy", [em_energy, dynamic_energy])
def test_transforms_of_fused_kernels_are_those_of_the_reference(transform, energy):
    expected = TRANSFORMS[transform](functools.partial(energy, backend="reference"))
    computed = TRANSFORMS[transform](functools.partial(energy, backend="cpu"))
    torch.testing.assert_close(computed, expected, rtol=1e-7, atol=1e-9)
    assert expected.count_nonzero() > expected.numel() / 4


@pytest.mark.parametrize("transform", FORWARD)
@pytest.mark.parametrize("energy", [em_energy, dynamic_energy])
def test_no_tangent_is_silently_zero(transform, energy, monkeypatch):
    monkeypatch.setattr(api, "_warn_once", functools.cache(api._warn_once.__wrapped__))
    expected = FORWARD[transform](functools.partial(energy, backend="reference"))
    assert expected.count_nonzero() > expected.numel() / 4
    with pytest.warns(ReferenceWarning):
        computed = FORWARD[transform](functools.partial(energy, backend="auto"))
    torch.testing.assert_close(computed, expected)
    with pytest.raises(UnavailableBackend):
        FORWARD[transform](functools.partial(energy, backend="cpu"))


@pytest.mark.parametrize("operator", SETTINGS, ids=lambda operator: operator.name)
def test_an_operator_with_a_tangent_is_refused_by_its_name(operator):
    for overload, arguments in (
        (operator.forward, arguments_of(operator)), (operator.backward, backward_arguments_of(operator))
    ):  # fmt: skip
        poses, *others = arguments
        with pytest.raises(RuntimeError, match=f"capsbench::{operator.name}"):
            func.jvp(
                lambda u, overload=overload, rest=others: overload(u, *rest)[0], (poses.detach(),), (poses.detach(),)
            )


@pytest.mark.parametrize("energy", [em_energy, dynamic_energy])
def test_a_full_graph_runs_the_routing_in_one_call(energy, monkeypatch):
    calls = []
    for name in ("forward", "route_em", "route_dynamic"):
        kernel = getattr(launch, name)
        monkeypatch.setattr(launch, name, lambda *given, name=name, run=kernel: calls.append(name) or run(*given))
    compiled = torch.compile(functools.partial(energy, backend="cpu"), fullgraph=True, backend="aot_eager")
    poses = POSES.clone().requires_grad_()
    (ours,) = torch.autograd.grad(compiled(poses), poses)
    assert calls == ["route_em" if energy is em_energy else "route_dynamic"]
    torch.testing.assert_close(ours, torch.autograd.grad(energy(poses, backend="reference"), poses)[0])


COMPILED = {
    "jvp of compiled": lambda f: FORWARD["jvp"](torch.compile(f, backend="aot_eager")),
    "compiled jvp": lambda f: torch.compile(lambda: FORWARD["jvp"](f), backend="aot_eager")(),
}


@pytest.mark.filterwarnings("ignore::capsbench_kernels.ReferenceWarning")
@pytest.mark.slow
@pytest.mark.parametrize("transform", COMPILED)
@pytest.mark.parametrize("energy", [em_energy, dynamic_energy])
def test_no_tangent_of_a_compiled_routing_is_silently_zero(transform, energy):
    torch.compiler.reset()
    expected = FORWARD["jvp"](functools.partial(energy, backend="reference"))
    assert expected.abs() > 1e-3
    torch.testing.assert_close(COMPILED[transform](functools.partial(energy, backend="auto")), expected)
    with pytest.raises(Exception, match="forward-mode derivatives"):  # a compiler wraps the error in one of its own
        COMPILED[transform](functools.partial(energy, backend="cpu"))


@pytest.mark.parametrize("energy", [em_energy, dynamic_energy])
def test_a_graph_compiled_without_a_tangent_refuses_one(energy):
    torch.compiler.reset()
    compiled = torch.compile(functools.partial(energy, backend="cpu"), backend="aot_eager")
    torch.testing.assert_close(compiled(POSES), energy(POSES, backend="reference"))
    with pytest.raises(UnavailableBackend, match="forward-mode derivatives"):
        FORWARD["jvp"](compiled)
