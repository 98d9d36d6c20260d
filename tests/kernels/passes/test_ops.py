"""The operators under torch's own checks, on shapes alone, in batches, and under every mode of differentiation."""

import functools

import pytest
import torch
from torch import func
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd import forward_ad

from capsbench_kernels import Parents, ReferenceWarning, UnavailableBackend, decomposition_table, vote_pass
from capsbench_kernels.passes import api, ops
from capsbench_kernels.passes.types import PassInputs
from tests.kernels.passes.cases import FIELDS, draw_problem

SIZES = (2, 3, 2, 2, 2, 2)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning"),  # torch's own, at its first forward mode
    pytest.mark.filterwarnings(
        "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
    ),  # opcheck's own
]


def arguments_of(tensors, backend="cpu", constant_shares=False):
    """Returns the arguments of `ops.VOTE_PASS.forward` of a problem of `draw_problem`."""
    return (*(tensors.get(name) for name in PassInputs._fields), backend, constant_shares)


def backward_arguments_of(tensors, constant_shares=False):
    """Returns the arguments of `ops.VOTE_PASS.backward`, which all require gradients but the centre."""
    *inputs, backend, _ = arguments_of(tensors)
    generator = torch.Generator().manual_seed(1)
    gradients = [
        torch.randn(total.shape, generator=generator, dtype=total.dtype).requires_grad_()
        for total in ops.VOTE_PASS.forward(*inputs, backend, constant_shares)
    ]
    wanted = [tensor is not None and tensor.requires_grad for tensor in inputs]
    return (*inputs, *gradients, backend, constant_shares, wanted)


CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


@pytest.mark.slow
@pytest.mark.parametrize("fields", [FIELDS, FIELDS[:-1], []], ids=["all", "no log-normaliser", "none"])
def test_torch_accepts_the_operators(fields):
    """The last check traces the operators with symbols for their sizes, which takes seconds."""
    tensors = draw_problem(SIZES, fields, shared_offset=len(fields) == len(FIELDS))
    pairs = [
        (ops.VOTE_PASS.forward, arguments_of(tensors)),
        (ops.VOTE_PASS.backward, backward_arguments_of(tensors)),
    ]
    for operator, arguments in pairs:
        assert torch.library.opcheck(operator, arguments) == dict.fromkeys(CHECKS, "SUCCESS")


@pytest.mark.parametrize("fields", [FIELDS, FIELDS[:-1], []])
@pytest.mark.parametrize("dtype", [torch.double, torch.float16])
def test_shapes_alone_are_those_of_the_results(fields, dtype):
    tensors = draw_problem((2, 3, 4, 2, 3, 5), fields, torch.double)
    tensors = {
        name: tensor.to(dtype) if name in ("poses", "weights", "offset") else tensor.to(dtype).to(torch.float32)
        for name, tensor in tensors.items()
    } if dtype == torch.float16 else tensors  # fmt: skip
    pairs = [(ops.VOTE_PASS.forward, arguments_of(tensors)), (ops.VOTE_PASS.backward, backward_arguments_of(tensors))]
    for operator, arguments in pairs:
        on_meta = [each.to("meta") if isinstance(each, torch.Tensor) else each for each in arguments]
        for result, shapes in zip(operator(*arguments), operator(*on_meta), strict=True):
            assert shapes.is_meta
            assert (shapes.shape, shapes.dtype, shapes.stride()) == (result.shape, result.dtype, result.stride())


@pytest.mark.parametrize("backend", ["auto", "reference", "cpu"])
def test_a_pass_of_meta_tensors_has_the_shapes_of_its_moments_and_gradients(problem, backend):
    made = problem()
    made["parents"] = Parents(*(field.to("meta") for field in made["parents"]))
    made |= {name: tensor.to("meta") for name, tensor in made.items() if name != "parents"}
    made["weights"].requires_grad_()
    moments = vote_pass(**made, backend=backend)
    assert [list(moment.shape) for moment in moments] == [[3, 4], [3, 4, 8], [3, 4, 8]]
    moments.first.sum().backward()
    assert made["weights"].grad.shape == (5, 4, 3, 2)


@pytest.mark.parametrize("backend", ["auto", "reference", "cpu"])
def test_a_pass_of_fake_tensors_has_the_shapes_of_its_moments(problem, backend):
    made = problem()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = {name: mode.from_tensor(tensor) for name, tensor in made.items() if name != "parents"}
        moments = vote_pass(**fake, parents=Parents(), backend=backend)
    assert all(isinstance(moment, FakeTensor) for moment in moments)
    assert [list(moment.shape) for moment in moments] == [[3, 4], [3, 4, 8], [3, 4, 8]]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


POSES, WEIGHTS, OFFSET, BIAS = draw(2, 3, 2, 2), draw(3, 2, 2, 2), draw(1, 3, 2, 2), draw(2, 2)
MEAN, PRECISION = draw(2, 2, 4), draw(2, 2, 4, seed=1).exp()
STEP = draw(2, 3, 2, 2, seed=2)
MANY, MANY_WEIGHTS = draw(4, 2, 3, 2, 2, seed=3), draw(4, 3, 2, 2, 2, seed=4)
MANY_OFFSETS, MANY_BIASES = draw(4, 1, 3, 2, 2, seed=5), draw(4, 2, 2, seed=6)


def energy(poses, weights=WEIGHTS, offset=OFFSET, bias=BIAS, *, backend):
    """Returns a number that depends on all moments of a pass, and through its belief on the poses twice."""
    belief = Parents(bias=bias, direction=MEAN, mean=MEAN + poses.mean(), precision=PRECISION, centre=MEAN)
    activations = torch.sigmoid(poses.sum(dim=(2, 3)))
    moments = vote_pass(poses, weights, belief, activations, offset, backend)
    return moments.first.sin().sum() + moments.second.sum() * moments.mass.square().sum()


REVERSE = {
    "grad": lambda f: func.grad(f)(POSES),
    "grad by weights": lambda f: func.grad(lambda weights: f(POSES, weights))(WEIGHTS),
    "jacrev": lambda f: func.jacrev(f)(POSES),
    "grad of grad": lambda f: func.grad(lambda poses: func.grad(f)(poses).square().sum())(POSES),
    "jacrev of jacrev": lambda f: func.jacrev(func.jacrev(f))(POSES),
    "vmap": lambda f: func.vmap(f)(MANY),
    "vmap of another dimension": lambda f: func.vmap(f, in_dims=1)(MANY.movedim(0, 1)),
    "vmap of weights": lambda f: func.vmap(lambda weights: f(POSES, weights))(MANY_WEIGHTS),
    "vmap of offsets": lambda f: func.vmap(lambda offset: f(POSES, WEIGHTS, offset))(MANY_OFFSETS),
    "vmap of biases": lambda f: func.vmap(lambda bias: f(POSES, bias=bias))(MANY_BIASES),
    "vmap of vmap": lambda f: func.vmap(lambda scale: func.vmap(lambda poses: f(scale * poses))(MANY))(draw(3)),
    "vmap of grad": lambda f: func.vmap(func.grad(f))(MANY),
    "vmap of grad by weights": lambda f: func.vmap(
        func.grad(lambda weights, poses: f(poses, weights)), in_dims=(None, 0)
    )(WEIGHTS, MANY),
    "vmap of grad by an offset": lambda f: func.vmap(
        func.grad(lambda offset, poses: f(poses, WEIGHTS, offset)), in_dims=(None, 0)
    )(OFFSET, MANY),
    "vmap of grad by a bias": lambda f: func.vmap(func.grad(lambda bias, poses: f(poses, bias=bias)))(
        MANY_BIASES, MANY
    ),
    "vmap of grad of grad": lambda f: func.vmap(func.grad(lambda poses: func.grad(f)(poses).square().sum()))(MANY),
    "grad of vmap": lambda f: func.grad(
        lambda weights: func.vmap(lambda poses: f(poses, weights))(MANY).sin().sum()
    )(WEIGHTS),
    "autograd of grad": lambda f: torch.autograd.functional.jacobian(
        lambda poses: func.grad(f)(poses).square().sum(), POSES
    ),
    "a tangent of the gradient of the result": lambda f: _push_through_pull_back(func.vjp(f, POSES)[1]),
}  # fmt: skip


def _push_through_pull_back(pull_back):
    """Returns the derivative of a vector-Jacobian product by its vector: the pass has run, and its gradient is forward mode."""
    return func.jvp(lambda vector: pull_back(vector)[0], (draw(1)[0],), (draw(1, seed=1)[0],))[1]


def _differentiate_dual(f, *, gradient=False, requires_grad=False):
    with forward_ad.dual_level():
        poses = forward_ad.make_dual(POSES.clone().requires_grad_(requires_grad), STEP)
        result = torch.autograd.grad(f(poses), poses)[0] if gradient else f(poses)
        return forward_ad.unpack_dual(result).tangent


FORWARD = {
    "jvp": lambda f: func.jvp(f, (POSES,), (STEP,))[1],
    "jacfwd": lambda f: func.jacfwd(f)(POSES),
    "hessian": lambda f: func.hessian(f)(POSES),
    "jvp of grad": lambda f: func.jvp(func.grad(f), (POSES,), (STEP,))[1],
    "grad of jvp": lambda f: func.grad(lambda poses: func.jvp(f, (poses,), (STEP,))[1])(POSES),
    "vmap of jvp": lambda f: func.vmap(lambda poses: func.jvp(f, (poses,), (STEP,))[1])(MANY),
    "jvp of vmap": lambda f: func.jvp(func.vmap(f), (MANY,), (torch.ones_like(MANY),))[1],
    "jvp by weights": lambda f: func.jvp(lambda weights: f(POSES, weights), (WEIGHTS,), (WEIGHTS,))[1],
    "a dual tensor": _differentiate_dual,
    "a dual tensor with a graph": functools.partial(_differentiate_dual, requires_grad=True),
    "the gradient of a dual tensor": functools.partial(_differentiate_dual, gradient=True, requires_grad=True),
}


@pytest.mark.parametrize("name", REVERSE)
def test_transforms_of_fused_kernels_are_those_of_the_reference(name, monkeypatch):
    expected = REVERSE[name](functools.partial(energy, backend="reference"))
    monkeypatch.setattr(api, "vote_pass_reference", None)  # the pass itself stays on the kernels
    for backend in ("cpu", "auto"):
        computed = REVERSE[name](functools.partial(energy, backend=backend))
        torch.testing.assert_close(computed, expected, rtol=1e-9, atol=1e-9)
    assert expected.count_nonzero() > expected.numel() / 2


@pytest.mark.parametrize("name", FORWARD)
def test_no_tangent_is_silently_zero(name, monkeypatch):
    monkeypatch.setattr(api, "_warn_once", functools.cache(api._warn_once.__wrapped__))
    expected = FORWARD[name](functools.partial(energy, backend="reference"))
    assert expected.count_nonzero() > expected.numel() / 2
    with pytest.warns(ReferenceWarning):
        computed = FORWARD[name](functools.partial(energy, backend="auto"))
    torch.testing.assert_close(computed, expected)
    with pytest.raises(UnavailableBackend) as caught:
        FORWARD[name](functools.partial(energy, backend="cpu"))
    assert caught.value.expected == "reference"


def test_a_tangent_is_the_slope_of_finite_differences(monkeypatch):
    monkeypatch.setattr(api, "_warn_once", lambda backend, reason: None)
    slope = FORWARD["jvp"](functools.partial(energy, backend="auto"))
    ahead, behind = (energy(POSES + sign * 1e-6 * STEP, backend="cpu") for sign in (1, -1))
    torch.testing.assert_close(slope, (ahead - behind) / 2e-6, rtol=1e-6, atol=0)


OPERATORS = {
    "vote_pass": lambda poses: ops.VOTE_PASS.forward(poses, WEIGHTS, *[None] * 8, "cpu", False)[1].sum(),
    "vote_pass_backward": lambda poses: ops.VOTE_PASS.backward(
        poses, WEIGHTS, *[None] * 8, BIAS, MEAN, MEAN, POSES[..., 0, 0], "cpu", False, [True] + [False] * 9
    )[0].sum(),
    "vote_pass_backward by a gradient": lambda poses: ops.VOTE_PASS.backward(
        POSES, WEIGHTS, *[None] * 8, poses[:, :2, 0], MEAN, MEAN, POSES[..., 0, 0], "cpu", False, [True] + [False] * 9
    )[0].sum(),
}  # fmt: skip


@pytest.mark.parametrize("transform", [name for name in FORWARD if "weights" not in name])  # functions of poses alone
@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_with_a_tangent_is_refused_by_its_name(name, transform):
    with pytest.raises(RuntimeError, match=f"capsbench::{name.partition(' ')[0]}"):
        FORWARD[transform](OPERATORS[name])


@pytest.mark.parametrize("shared_offset", [False, True])
def test_the_derivatives_of_the_gradients_are_those_of_finite_differences(shared_offset):
    tensors = draw_problem(SIZES, FIELDS, shared_offset=shared_offset)
    arguments = backward_arguments_of(tensors)
    leaves = [each for each in arguments if isinstance(each, torch.Tensor) and each.requires_grad and each.numel()]

    def run(*values):
        given = iter(values)
        return tuple(
            ops.VOTE_PASS.backward(*(next(given) if any(each is leaf for leaf in leaves) else each for each in arguments))
        )  # fmt: skip

    assert len(leaves) == 9 + 3
    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)


def test_gradients_that_nobody_wants_are_not_returned():
    arguments = list(backward_arguments_of(draw_problem(SIZES, FIELDS)))
    everything = ops.VOTE_PASS.backward(*arguments)
    wanted = [name in ("weights", "bias") for name in PassInputs._fields]
    some = ops.VOTE_PASS.backward(*arguments[:-1], wanted)
    assert torch.equal(some[0], everything[1])
    assert torch.equal(some[1], everything[4])
    assert len(some) == 2
    assert ops.VOTE_PASS.backward(*arguments[:-1], [False] * 10) == []


@pytest.mark.parametrize("fields", [FIELDS, FIELDS[:-1], []])
@pytest.mark.parametrize("constant_shares", [False, True])
def test_a_decomposed_operator_computes_the_same_without_a_kernel(fields, constant_shares):
    tensors = draw_problem(SIZES, fields)
    table = decomposition_table()
    pairs = [
        (ops.VOTE_PASS.forward, arguments_of(tensors, constant_shares=constant_shares)),
        (ops.VOTE_PASS.backward, backward_arguments_of(tensors, constant_shares)),
    ]
    for operator, arguments in pairs:
        for ours, expected in zip(operator(*arguments), table[operator](*arguments), strict=True):
            torch.testing.assert_close(ours, expected)
