"""The Triton kernels against the reference, in Triton's interpreter (TRITON_INTERPRET=1) or on a CUDA device."""

import math

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from triton.runtime.interpreter import InterpretedFunction

from capsbench_kernels import (
    Moments,
    Parents,
    UnavailableBackend,
    choose_backend,
    dynamic_routing,
    em_routing,
    log_normaliser,
    vote_pass,
)
from capsbench_kernels.passes.triton import launch as triton_kernels
from capsbench_kernels.passes.triton.launch import INTERPRETED, Launch, Sizes, pair_tile, problem_tile, split_loop

pytestmark = pytest.mark.filterwarnings(
    "ignore:Conversion of an array with ndim:DeprecationWarning"
)  # Triton 3.6's interpreter

DEVICE = "cpu" if INTERPRETED else "cuda"
OPTIONS = ("bias", "direction", "gaussian", "centre", "activations", "offset", "log_normaliser")
NAMES = ("poses", "weights", "activations", "offset", "bias", "direction", "mean", "precision", "log_normaliser")


@pytest.fixture(autouse=True)
def launches(monkeypatch):
    """Records the launches, and fills with NaN every tensor that a kernel is to write."""
    empty, run, made = triton_kernels._make_empty, Launch.run, []
    monkeypatch.setattr(triton_kernels, "_make_empty", lambda *shape: empty(*shape).fill_(math.nan))

    def recorded(launch):
        made.append((launch.kernel.__name__, launch.grid))
        run(launch)

    monkeypatch.setattr(Launch, "run", recorded)
    return made


@pytest.fixture(autouse=True, scope="module")
def prepare_functions_once():
    """Keeps the interpreter from preparing Triton's language at each call of a function by a kernel: half of all the time."""
    prepare, prepared = InterpretedFunction.__call__, set()

    def call(function, *arguments, **named):
        if function in prepared:
            return function.rewrite()(*arguments, **named)
        prepared.add(function)
        return prepare(function, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InterpretedFunction, "__call__", call)
        yield


@pytest.fixture
def split_into(monkeypatch):
    """Splits the children and the problems into a number of stretches, or into fewer if there are fewer of them."""

    def install(splits):
        def cut(length, **_):
            span = math.ceil(length / splits)
            return span, math.ceil(length / span)

        monkeypatch.setattr(triton_kernels, "split_loop", cut)

    return install


def random_problem(sizes, options=OPTIONS, dtype=torch.double, scale=1.0, seed=0):
    """Draws a problem of sizes N, I, J, R, D, E: keyword arguments of `vote_pass`, all leaves that require gradients."""
    generator = torch.Generator().manual_seed(seed)
    problems, children, parents, rows, depth, columns = sizes
    narrow, wide = dtype, torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype

    def draw(*shape, dtype=wide, of=lambda drawn: drawn):
        drawn = of(torch.randn(*shape, generator=generator, dtype=torch.double))
        return drawn.to(DEVICE, dtype).requires_grad_()

    values = (problems, parents, rows * columns)
    made = {
        "poses": draw(problems, children, rows, depth, dtype=narrow, of=lambda drawn: scale * drawn),
        "weights": draw(children, parents, depth, columns, dtype=narrow),
        "activations": draw(problems, children, of=torch.sigmoid),
        "offset": draw(1 if seed % 2 else problems, children, rows, columns, dtype=narrow),
        "log_normaliser": draw(problems, children, of=lambda drawn: drawn + 3),
        "bias": draw(problems, parents),
        "direction": draw(*values),
        "mean": draw(*values),
        "precision": draw(*values, of=lambda drawn: drawn.square() + 0.1),
        "centre": draw(*values),
    }
    absent = set(OPTIONS) - set(options)
    for name in absent:
        made |= {"mean": None, "precision": None} if name == "gaussian" else {name: None}
    belief = Parents(*(made.pop(field) for field in Parents._fields))
    return {**made, "parents": belief}


def results(problem, backend, seed=0):
    """Returns moments and gradients by name."""
    generator = torch.Generator().manual_seed(seed)
    moments = vote_pass(**problem, backend=backend)
    upstream = [torch.randn(each.shape, generator=generator, dtype=torch.double).to(each) for each in moments]
    given = {**problem, **problem["parents"]._asdict()}
    leaves = {name: given[name] for name in NAMES if given.get(name) is not None and given[name].requires_grad}
    total = sum((moment * factor).sum() for moment, factor in zip(moments, upstream, strict=True))
    gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return {**moments._asdict(), **{f"gradient of {name}": each for name, each in zip(leaves, gradients, strict=True)}}


def assert_same(ours, theirs, **tolerance):
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        torch.testing.assert_close(
            ours[name], expected, msg=lambda text, name=name: f"{name}: {text}", **tolerance or {}
        )


def assert_near_by_name(ours, theirs, tolerance):
    """Compares each result by itself, to within ``tolerance`` of the largest of its own numbers."""
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        largest = expected.abs().amax().item()
        torch.testing.assert_close(
            ours[name].to(expected),
            expected,
            rtol=0,
            atol=tolerance * largest,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def to_float64(problem):
    """Returns the same numbers in float64, which holds them exactly."""
    wide = {name: each.double() for name, each in problem.items() if isinstance(each, torch.Tensor)}
    belief = Parents(*(each if each is None else each.double() for each in problem["parents"]))
    return {**problem, **wide, "parents": belief}


def assert_like_the_reference(problem, **tolerance):
    assert_same(results(problem, "triton"), results(problem, "reference"), **tolerance)


PAPERS = {
    "a vector capsule": ((3, 2, 10, 1, 8, 16), ("direction",)),
    "a pose matrix": ((3, 2, 5, 4, 4, 4), ("bias", "gaussian", "centre", "activations", "offset")),
    "no routing": ((3, 2, 5, 4, 4, 4), ()),
}


@pytest.mark.parametrize(("sizes", "options"), PAPERS.values(), ids=PAPERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.double, {}), (torch.float32, dict(rtol=2e-5, atol=2e-4))])
def test_the_papers_capsules(sizes, options, dtype, tolerance, launches):
    assert_like_the_reference(random_problem(sizes, options, dtype), **tolerance)
    assert [name for name, _ in launches] == ["forward_kernel", "backward_poses_kernel", "backward_weights_kernel"]


@settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.generate,),  # to shrink an example would take minutes in the interpreter
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    sizes=st.tuples(*[st.integers(1, 3)] * 2, st.integers(1, 6), *[st.integers(1, 3)] * 3),
    options=st.sets(st.sampled_from(OPTIONS)),
    constant_shares=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_sizes_and_options(sizes, options, constant_shares, seed):
    assert_like_the_reference({**random_problem(sizes, options, seed=seed), "constant_shares": constant_shares})


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_alone(option):
    assert_like_the_reference(random_problem((2, 3, 3, 2, 2, 3), (option,)))


@pytest.mark.parametrize(
    ("sizes", "threads"),
    [
        ((5, 2, 32, 1, 2, 3), "two problems in each"),
        ((2, 2, 40, 2, 2, 2), "more parents than a warp has"),
        ((2, 1, 3, 1, 17, 12), "a vote's weights shared by several, in two passes"),
        ((3, 3, 64, 2, 1, 1), "several programs"),
    ],
)
def test_tiles_of_other_shapes(sizes, threads, launches):
    tile, pairs = problem_tile(Sizes(*sizes, 132), gaussian=False), pair_tile(Sizes(*sizes, 132))
    reached = {
        "two problems in each": tile.constants["T"] == 2,
        "more parents than a warp has": tile.constants["BJ"] > 32,
        "a vote's weights shared by several, in two passes": pairs.constants["LANES"] == 8 and pairs.passes == 2,
        "several programs": tile.blocks == 2 and pairs.blocks == 2,
    }
    assert reached[threads]
    assert_like_the_reference(random_problem(sizes, ("direction",)))
    assert [grid[0] for _, grid in launches] == [tile.blocks, tile.blocks, pairs.blocks]


@pytest.mark.parametrize(("splits", "stretches"), [(1, (1, 1)), (2, (2, 2)), (3, (3, 2)), (7, (5, 4))])
def test_split_children_and_problems_give_the_same(splits, stretches, split_into, launches):
    split_into(splits)
    problem = random_problem((4, 5, 3, 2, 2, 2))
    assert_like_the_reference(problem)
    of_children, of_problems = stretches
    assert [grid[1] for _, grid in launches] == [of_children, of_children, of_problems]


def test_an_offset_of_every_problem_and_one_of_all(split_into):
    split_into(2)
    for seed, leading in ((0, 3), (1, 1)):
        problem = random_problem((3, 4, 2, 2, 2, 3), ("offset", "direction"), seed=seed)
        assert problem["offset"].shape[0] == leading
        assert_like_the_reference(problem)


def test_the_same_input_gives_the_same_bits(split_into):
    split_into(3)
    problem = random_problem((3, 5, 3, 2, 2, 2), dtype=torch.float32)
    for first, second in zip(*(results(problem, "triton").values() for _ in range(2)), strict=True):
        assert torch.equal(first, second)


def test_non_contiguous_input_gives_the_same():
    problem = random_problem((2, 3, 3, 2, 3, 2))
    expected = results(problem, "triton")

    def scattered(tensor):
        turned = tensor.detach().transpose(0, -1).contiguous().transpose(0, -1)
        assert not turned.is_contiguous()
        return turned.requires_grad_()

    belief = problem.pop("parents")
    problem = {name: scattered(tensor) for name, tensor in problem.items()}
    assert_same(results({**problem, "parents": Parents(*map(scattered, belief))}, "triton"), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("sizes", "options"), list(PAPERS.values())[:2], ids=list(PAPERS)[:2])
def test_half_width_input_is_summed_in_float32(sizes, options, dtype):
    """The error against float64 is at most twice that of the reference in the same dtypes."""
    problem = random_problem(sizes, options, dtype)
    exact = results(to_float64(problem), "reference")
    ours, theirs = results(problem, "triton"), results(problem, "reference")
    for name, expected in exact.items():
        assert ours[name].dtype == theirs[name].dtype
        error, usual = ((each[name].double() - expected).abs().amax().item() for each in (ours, theirs))
        assert error <= 2 * usual + 1e-5 * expected.abs().amax().item(), name


@pytest.mark.parametrize("votes", [0.0, 1e-6, 1.0, 1e4])
@pytest.mark.parametrize("activation", [0.0, 1.0])
def test_degenerate_votes_give_finite_values_and_gradients(votes, activation):
    """All votes equal, of any size, from children that are all inactive or all certain, in float32."""
    poses = torch.full((1, 2, 2, 2), votes, device=DEVICE, requires_grad=True)
    weights = torch.eye(2, device=DEVICE).expand(2, 3, 2, 2)
    activations = torch.full((1, 2), activation, device=DEVICE, requires_grad=True)
    betas = torch.zeros(3, device=DEVICE, requires_grad=True)
    means, parents = em_routing(
        poses, weights, activations, betas, betas, 2, inverse_temperature=[0.2, 0.3], backend="triton"
    )
    (means.sum() + parents.sum()).backward()
    for tensor in (means, parents, poses.grad, activations.grad, betas.grad):
        assert tensor.isfinite().all()


@pytest.mark.parametrize("scale", [1e4, 1e-6])
def test_large_and_tiny_votes(scale):
    """The rounding of logits of 1e9 alone exceeds the range of an exponential."""
    problem = random_problem((2, 3, 3, 2, 3, 2), ("direction", "gaussian"), torch.float32, scale)
    assert_near_by_name(results(problem, "triton"), results(problem, "reference"), 1e-5)


@pytest.mark.parametrize("size", [1e6, 1e7, 1e9])
@pytest.mark.parametrize("constant_shares", [False, True])
def test_the_shares_sum_to_1_however_large_the_logits(size, constant_shares):
    """A logit of 1e7 plus the log of the denominator rounds to the logit in float32. The logits are exact: the bias alone."""
    problem = random_problem((2, 3, 8, 2, 3, 2), ("activations",), torch.float32)
    drawn = torch.rand(2, 8, generator=torch.Generator().manual_seed(1))
    bias = (size + drawn).to(DEVICE).requires_grad_()
    assert (bias - size).abs().amax() <= 1
    problem |= {"parents": Parents(bias=bias), "constant_shares": constant_shares}
    exact = results(to_float64(problem), "reference")
    assert_near_by_name(results(problem, "triton"), exact, 1e-5)


def test_a_parent_of_bias_minus_infinity_gets_nothing():
    problem = random_problem((2, 3, 4, 1, 2, 2), ("direction",))
    bias = torch.zeros(2, 4, dtype=torch.double, device=DEVICE)
    bias[:, 1] = -math.inf
    problem["parents"] = problem["parents"]._replace(bias=bias.requires_grad_())
    assert_like_the_reference(problem)
    assert vote_pass(**problem, backend="triton").mass[:, 1].eq(0).all()


@pytest.mark.parametrize("options", [("direction",), ("bias", "gaussian", "offset"), ()])
def test_the_log_normaliser_and_its_gradient(options):
    problem = random_problem((2, 3, 4, 2, 2, 2), options)
    arguments = [problem[name] for name in ("poses", "weights", "parents", "offset")]
    leaves = [leaf for leaf in (*arguments[:2], *arguments[2][:4]) if leaf is not None]

    def found(backend):
        number = log_normaliser(*arguments, backend=backend)
        total = number.square().sum() + 0 * sum(leaf.sum() for leaf in leaves)  # without a belief, it is constant
        gradients = torch.autograd.grad(total, leaves)
        return dict(enumerate([number, *gradients]))

    assert_same(found("triton"), found("reference"))


def test_moments_may_be_changed_in_place(split_into):
    for splits in (1, 2):
        split_into(splits)
        moments = vote_pass(**random_problem((2, 4, 2, 1, 2, 2), ("direction",)), backend="triton")
        for moment in moments:
            moment.mul_(2)


def test_a_centre_that_is_the_mean_is_read_once():
    """EM routing takes the moments about the mean; the kernels then keep one of the two in registers."""
    problem = random_problem((2, 3, 3, 2, 2, 2), ("gaussian", "activations"))
    belief = problem["parents"]
    apart = {**problem, "parents": belief._replace(centre=belief.mean.detach().clone())}
    problem["parents"] = belief._replace(centre=belief.mean.detach())
    assert_same(results(problem, "triton"), results(apart, "triton"))
    assert_like_the_reference(problem)


@pytest.mark.parametrize(
    ("options", "splits"),
    [
        *((OPTIONS, 1), (OPTIONS, 2), (OPTIONS[:-1], 1), (OPTIONS[:4], 2)),
        *((("gaussian", "activations"), 1), (("direction",), 2), ((), 1)),
    ],
)
def test_constant_shares(options, splits, split_into):
    """Gradients take the shares as constants: the belief has none, the others flow through the votes alone."""
    split_into(splits)
    problem = random_problem((2, 3, 3, 2, 2, 3), options)
    varied = results(problem, "triton")
    problem["constant_shares"] = True
    found = results(problem, "triton")
    assert_same(found, results(problem, "reference"))
    for name in ("bias", "direction", "mean", "precision", "log_normaliser"):
        assert not found.get(f"gradient of {name}", torch.zeros(1)).any(), name
    for name in ("mass", "first", "second", "gradient of activations"):
        assert name not in found or torch.equal(found[name], varied[name]), name
    same = torch.allclose(found["gradient of poses"], varied["gradient of poses"])
    assert same == (not {"direction", "gaussian"} & set(options))


def test_the_gradient_of_weights_is_left_out_if_nobody_wants_it(launches):
    problem = random_problem((2, 20, 3, 2, 2, 3))
    every = results(problem, "triton")
    assert [name for name, _ in launches][-1] == "backward_weights_kernel"
    launches.clear()
    alone = results({**problem, "weights": problem["weights"].detach()}, "triton")
    assert [name for name, _ in launches] == ["forward_kernel", "backward_poses_kernel"]
    assert_same(alone, {name: each for name, each in every.items() if name != "gradient of weights"}, rtol=0, atol=0)


@pytest.mark.parametrize("gradient", ["all", "last"])
def test_dynamic_routing(gradient, launches):
    poses, weights = (random_problem((2, 3, 4, 1, 3, 4))[name] for name in ("poses", "weights"))

    def routed(backend):
        outputs = dynamic_routing(poses, weights, 3, gradient=gradient, backend=backend)
        return dict(enumerate([outputs, *torch.autograd.grad(outputs.square().sum(), (poses, weights))]))

    assert_same(routed("triton"), routed("reference"))
    names = [name for name, _ in launches]
    assert names.count("forward_kernel") == 3
    assert names.count("backward_weights_kernel") == (3 if gradient == "all" else 1)


def test_em_routing(launches):
    problem = random_problem((2, 3, 3, 2, 2, 2))
    betas = torch.randn(2, 3, dtype=torch.double, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    inputs = [
        problem["poses"],
        problem["weights"],
        problem["activations"],
        *(beta.requires_grad_() for beta in betas.clone()),
    ]

    def routed(backend):
        means, parents = em_routing(
            *inputs,
            3,
            inverse_temperature=[0.2, 0.3, 0.4],
            offset=problem["offset"],
            variance_epsilon=0.01,
            backend=backend,
        )
        total = means.square().sum() + parents.sum()
        return dict(enumerate([means, parents, *torch.autograd.grad(total, [*inputs, problem["offset"]])]))

    assert_same(routed("triton"), routed("reference"))
    assert len(launches) == 9


@pytest.mark.parametrize("options", [OPTIONS, ("gaussian", "activations"), ("direction",), ()])
@pytest.mark.parametrize("constant_shares", [False, True])
def test_a_gradient_penalty(options, constant_shares, launches):
    problem = random_problem((2, 3, 3, 2, 2, 2), options)
    given = {**problem, **problem["parents"]._asdict()}
    leaves = [given[name] for name in NAMES if given.get(name) is not None]

    def penalised(backend):
        total = sum(
            moment.square().sum() for moment in vote_pass(**problem, constant_shares=constant_shares, backend=backend)
        )
        further = dict(allow_unused=True, materialize_grads=True)
        gradients = torch.autograd.grad(total, leaves, create_graph=True, **further)
        penalty = sum(gradient.square().sum() for gradient in gradients)
        return dict(enumerate([penalty, *torch.autograd.grad(penalty, leaves, **further)]))

    assert_same(penalised("triton"), penalised("reference"))
    assert launches[0][0] == "forward_kernel"


def test_splits_fill_the_device_and_stay_few():
    # Hinton's ConvCaps1: 576 programs, 396 at a time. Half the children each leaves a last wave that is nearly full.
    assert split_loop(288, blocks=576, wave=396) == (144, 2)
    # Sabour's DigitCaps at batch 128: 8 programs, then 360 of 26 children.
    assert split_loop(1152, blocks=8, wave=396) == (26, 45)
    # One problem: no stretch shorter than 16 children. No more than allowed, and 1 where less than 1 is.
    assert split_loop(100, blocks=1, wave=396) == (17, 6)
    assert split_loop(100, blocks=1, wave=396, most=3) == (34, 3)
    assert split_loop(100, blocks=1, wave=396, most=0) == (100, 1)
    for length in range(1, 200):
        span, splits = split_loop(length, blocks=1, wave=396)
        assert span * (splits - 1) < length <= span * splits


def test_where_the_kernels_run():
    assert choose_backend("triton", DEVICE) == "triton"
    with pytest.raises(UnavailableBackend) as caught:
        choose_backend("triton", "mps")
    assert (caught.value.value, caught.value.expected) == ("triton", "reference")
    assert "mps" in caught.value.reason
    assert isinstance(vote_pass(**random_problem((1, 1, 1, 1, 1, 1)), backend="triton"), Moments)


def test_an_older_triton_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(triton_kernels.triton, "__version__", "3.5.1")
    with pytest.raises(UnavailableBackend) as caught:
        choose_backend("triton", DEVICE)
    assert caught.value.value == "triton"
    assert "3.5.1" in caught.value.reason
