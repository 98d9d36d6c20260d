"""The CPU kernels against the reference: sums and every gradient by name, and the cuts of a pass."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from capsbench_kernels import Parents, UnavailableBackend, dynamic_routing, em_routing, log_normaliser, vote_pass
from capsbench_kernels.passes.cpu import caching, launch

FIELDS = ["bias", "direction", "gaussian", "centre", "activations", "offset", "log_normaliser"]


def draw_problem(sizes, fields, dtype=torch.double, shared_offset=False):
    """Draws a problem of sizes N, I, J, R, D, E with the named fields, as leaves that require gradients."""
    problems, children, parents, rows, depth, columns = sizes
    generator = torch.Generator().manual_seed(sum(sizes))
    shapes = {
        "poses": (problems, children, rows, depth),
        "weights": (children, parents, depth, columns),
        "activations": (problems, children),
        "offset": (1 if shared_offset else problems, children, rows, columns),
        "log_normaliser": (problems, children),
        "bias": (problems, parents),
        **dict.fromkeys(("direction", "mean", "precision", "centre"), (problems, parents, rows * columns)),
    }
    wanted = {"poses", "weights", *fields} | ({"mean", "precision"} if "gaussian" in fields else set())
    made = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator, dtype=torch.double) / 2
        if name in ("activations", "precision"):
            values = values.sigmoid()
        if name in wanted:
            made[name] = values.to(dtype).requires_grad_(name != "centre")
    return made


def run_pass(tensors, backend):
    """Returns the sums by name, with log_normaliser unless it is an input, and the gradients of a random mix of them."""
    belief = Parents(**{name: tensors.get(name) for name in Parents._fields})
    poses, weights, offset = tensors["poses"], tensors["weights"], tensors.get("offset")
    given_normaliser = tensors.get("log_normaliser")
    moments = vote_pass(
        poses, weights, belief, tensors.get("activations"), offset, backend, log_normaliser=given_normaliser
    )
    sums = moments._asdict()
    if given_normaliser is None:
        sums["normaliser"] = log_normaliser(poses, weights, belief, offset, backend)
    generator = torch.Generator().manual_seed(1)
    mix = sum((each * torch.randn(each.shape, generator=generator, dtype=torch.double)).sum() for each in sums.values())
    leaves = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
    return sums, dict(zip(leaves, torch.autograd.grad(mix, leaves.values(), allow_unused=True), strict=True))


def assert_close_by_name(ours, theirs, tolerance):
    for name, expected in theirs.items():
        if expected is None:
            continue
        error = (ours[name] - expected).double().norm() / expected.double().norm().clamp_min(1e-9)
        assert error < tolerance, f"{name}: relative error {error:.1e}"


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


@pytest.fixture
def finely_cut(monkeypatch):
    """Cuts every pass into as many items as there are tiles and blocks."""
    monkeypatch.setattr(launch, "VOTE_VALUES_AN_ITEM", 1)


@pytest.fixture
def items(monkeypatch):
    """Records the ranges of children and problems of the kernels' calls."""
    seen = []
    for name in ("forward_item", "backward_item"):
        kernel = getattr(launch, name)

        def spied(*arguments, kernel=kernel):
            seen.append(arguments[-5:])
            kernel(*arguments)

        monkeypatch.setattr(launch, name, spied)
    return seen


def test_items_cover_every_child_of_every_problem_once(finely_cut, items):
    tensors = draw_problem((65, 300, 2, 2, 2, 3), ["gaussian", "bias", "activations"])
    ours = run_pass(tensors, "cpu")
    assert len(items) > 4 * 3
    forward = items[: len(items) // 4]  # then log_normaliser's, then the backward ones of both
    covered = sum((to_child - child) * (to_problem - problem) for child, to_child, _, problem, to_problem in forward)
    assert covered == 65 * 300
    for mine, theirs in zip(ours, run_pass(tensors, "reference"), strict=True):
        assert_close_by_name(mine, theirs, 1e-12)


def test_the_bits_depend_neither_on_the_run_nor_on_the_threads(finely_cut, items):
    tensors = draw_problem((65, 300, 3, 2, 2, 3), ["gaussian", "direction", "activations"], torch.float)
    made = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 2, 3):
            torch.set_num_threads(threads)
            made.append([*run_pass(tensors, "cpu")[0].values(), *run_pass(tensors, "cpu")[1].values()])
    finally:
        torch.set_num_threads(before)
    assert len(items) > 40
    for other in made[1:]:
        for first, second in zip(made[0], other, strict=True):
            assert torch.equal(first, second)


def test_what_is_allocated_is_all_written(finely_cut, monkeypatch):
    tensors = draw_problem((17, 130, 3, 2, 2, 3), [field for field in FIELDS if field != "log_normaliser"])
    expected = run_pass(tensors, "cpu")
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, **how: empty(*shape, **how).fill_(float("nan")))
    for ours, theirs in zip(run_pass(tensors, "cpu"), expected, strict=True):
        for name in theirs:
            assert torch.equal(ours[name], theirs[name]), name


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


@pytest.mark.parametrize("size", [0.0, 1e-6, 1.0, 1e4])
@pytest.mark.parametrize("activation", [0.0, 1.0])
def test_degenerate_votes_give_finite_values_and_gradients(size, activation):
    """All votes equal, of any size, from children that are all inactive or all certain, in float32."""
    poses = torch.full((2, 6, 4, 4), size, requires_grad=True)
    weights = torch.eye(4).expand(6, 3, 4, 4)
    activations = torch.full((2, 6), activation, requires_grad=True)
    betas = torch.zeros(3, requires_grad=True)
    outputs = em_routing(poses, weights, activations, betas, betas, 3, inverse_temperature=[0.1] * 3, backend="cpu")
    (outputs[0].sum() + outputs[1].sum()).backward()
    for tensor in (*outputs, poses.grad, activations.grad, betas.grad):
        assert tensor.isfinite().all()


def test_nan_in_one_problem_stays_there():
    tensors = {name: tensor.detach() for name, tensor in draw_problem((7, 20, 3, 2, 2, 2), ["gaussian"]).items()}
    tensors["poses"][3, 5] = float("nan")
    belief = Parents(mean=tensors["mean"], precision=tensors["precision"])
    first = vote_pass(tensors["poses"], tensors["weights"], belief, backend="cpu").first
    assert first[3].isnan().all()
    assert first[[0, 1, 2, 4, 5, 6]].isfinite().all()


def test_tensors_elsewhere_are_refused():
    poses, weights = torch.empty(1, 2, 1, 2, device="meta"), torch.empty(2, 2, 2, 2, device="meta")
    with pytest.raises(UnavailableBackend) as caught:
        vote_pass(poses, weights, Parents(), backend="cpu")
    assert (caught.value.value, caught.value.expected) == ("cpu", "reference")
    assert "meta" in caught.value.reason


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


def test_scratch_memory_is_seen_by_the_profiler(finely_cut):
    """The scratch memory of a second thread adds to the peak that a record states."""
    tensors = draw_problem((65, 300, 3, 2, 2, 3), ["gaussian"])
    allocated = {}
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            run_pass(tensors, "cpu")
            with torch.profiler.profile(profile_memory=True) as profile:
                run_pass(tensors, "cpu")
            events = profile.profiler.kineto_results.events()
            allocated[threads] = sum(max(0, event.nbytes()) for event in events if event.name() == "[memory]")
    finally:
        torch.set_num_threads(before)
    assert allocated[2] > allocated[1] + 100_000


def test_without_a_compiler_auto_is_the_reference():
    script = """
from capsbench_kernels import UnavailableBackend, choose_backend
assert choose_backend("auto") == "reference"
try:
    choose_backend("cpu")
except UnavailableBackend as error:
    print(error.value, error.reason)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.startswith("cpu "), done.stderr
    assert "NUMBA_DISABLE_JIT" in done.stdout


def test_kernels_are_compiled_anew_when_what_they_inline_has_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(caching.tiles, "__file__", str(tmp_path / "tiles.py"))
    (tmp_path / "tiles.py").write_text("before")
    kept, other = tmp_path / "cpu_passes.forward_item-1.nbi", tmp_path / "cpu_passes.backward_item-1.nbi"
    for change in (lambda: None, lambda: (tmp_path / "tiles.py").write_text("after!")):
        change()
        kept.touch()
        other.touch()
        caching._forget_if_changed("forward_item", tmp_path)
        assert not kept.exists()
        kept.touch()
        caching._forget_if_changed("forward_item", tmp_path)
        assert kept.exists()
        assert other.exists()


def test_a_forked_process_has_threads_of_its_own():
    script = """
import os, torch
from capsbench_kernels.passes.cpu import launch as cpu_kernels
from capsbench_kernels import dynamic_routing
cpu_kernels.VOTE_VALUES_AN_ITEM = 1
torch.set_num_threads(2)
poses, weights = torch.ones(8, 300, 1, 2), torch.ones(300, 3, 2, 4)
expected = dynamic_routing(poses, weights, backend="cpu")
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(dynamic_routing(poses, weights, backend="cpu"), expected) else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == 0
