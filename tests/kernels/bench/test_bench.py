"""The benchmark: layers and floors by hand; a right contender gets a time, a wrong one gets none."""

import sys
from dataclasses import replace

import pytest
import torch

from capsbench_kernels import UnavailableBackend
from capsbench_kernels.bench import CONTENDERS, LAYERS, PASSES, bench, build_cases
from capsbench_kernels.bench import check as check_module
from capsbench_kernels.bench import contenders as contenders_module
from capsbench_kernels.bench import measure as measure_module
from capsbench_kernels.bench.check import check_both, check_forward, compute_expected, training_step
from capsbench_kernels.bench.contenders import Contender, make_route, route_usual
from capsbench_kernels.bench.floor import Peaks, compute_floor, vote_values
from capsbench_kernels.bench.layers import Case, random_inputs
from capsbench_kernels.bench.measure import Failure, measure_peaks, name_failures, peak_memory, time_interleaved

CPU = torch.device("cpu")
REFERENCE = make_route("reference")


def small_case(layer="sabour-digitcaps", batch=3, iterations=2, dtype="float32", children=6, parents=3):
    (case,) = build_cases([layer], [batch], [children], [parents], [iterations], [dtype], device=CPU)
    return case


@pytest.fixture
def benched(monkeypatch):
    """Runs the benchmark on a small case with some contenders, and returns its rows by contender and pass."""
    monkeypatch.setattr("capsbench_kernels.bench.measure_peaks", lambda device: Peaks(1e11, 1e10))

    def run(*contenders, case=None):
        for contender in contenders:
            monkeypatch.setitem(CONTENDERS, contender.name, contender)
        names = [contender.name for contender in contenders]
        rows = list(bench([case or small_case()], names, device=CPU, seconds=0.001))
        assert len(rows) == len(contenders) * len(PASSES)
        return {(row["contender"], row["pass"]): row for row in rows}

    return run


def statuses_of(rows, name):
    return [rows[name, pass_]["status"] for pass_ in PASSES]


@pytest.mark.parametrize(
    ("layer", "batch", "problems", "megabytes"),
    [
        ("sabour-digitcaps", 128, 128, 94),
        ("hinton-convcaps1", 64, 2304, 1359),
        ("hinton-convcaps2", 64, 1024, 604),
        ("hinton-convcaps1-small", 32, 1152, 85),
    ],
)
def test_the_votes_of_the_papers_layers(layer, batch, problems, megabytes):
    case = Case(LAYERS[layer], batch, 3, "float32")
    assert case.problems == problems
    assert 4 * vote_values(case) / 1e6 == pytest.approx(megabytes, abs=0.5)


def test_the_floor_of_dynamic_routing_counted_by_hand():
    """N=2, I=6, J=3, R=1, D=8, E=16, two iterations: 2*6*3*16 values and 2*6*3 logits."""
    case = small_case(batch=2)
    values, logits = 576, 36
    forward = values * ((16 + 2) + (16 + 2 + 2)) + logits * 2 * 6
    backward = values * (1 + (1 + 6 + 16 + 2) + 32) + logits * 2 * 12
    read, written = 4 * (2 * 6 * 8 + 6 * 3 * 8 * 16), 4 * 2 * 3 * 16
    inference, training = compute_floor(case, backward=False), compute_floor(case, backward=True)
    assert (inference.flops, inference.bytes, inference.held) == (forward, read + written, written)
    assert (training.flops, training.bytes, training.held) == (
        forward + backward,
        2 * (read + written),
        read + written,
    )
    assert inference.seconds_at(Peaks(flops=1e3, bandwidth=1e12)) == forward / 1e3
    assert inference.seconds_at(Peaks(flops=1e12, bandwidth=1e3)) == (read + written) / 1e3


@pytest.mark.parametrize(
    ("layer", "batch", "gigaflops", "megabytes"),
    [("sabour-digitcaps", 128, 1.4, 11), ("hinton-convcaps1", 64, 17, 51), ("hinton-convcaps2", 64, 7.5, 23)],
)
def test_the_floors_of_the_papers_layers(layer, batch, gigaflops, megabytes):
    case = Case(LAYERS[layer], batch, 3, "float32")
    forward, both = compute_floor(case, backward=False), compute_floor(case, backward=True)
    assert forward.flops / 1e9 == pytest.approx(gigaflops, rel=0.07)
    assert forward.bytes / 1e6 == pytest.approx(megabytes, rel=0.03)
    assert 1.4 < both.flops / forward.flops - 1 < 1.8


def test_half_width_moves_half_the_poses_and_weights():
    whole, half = (
        compute_floor(small_case("hinton-class", dtype=dtype), backward=False).bytes
        for dtype in ("float32", "bfloat16")
    )
    assert 0.5 < half / whole < 0.75


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("layer", ["sabour-digitcaps", "hinton-convcaps2", "hinton-class"])
@pytest.mark.parametrize("name", ["broadcast", "reference", "cpu"])
def test_every_contender_agrees_with_float64(name, layer, dtype):
    contender = CONTENDERS[name]
    if contender.find_obstacle(CPU):
        pytest.skip(contender.find_obstacle(CPU))
    case = small_case(layer, dtype=dtype, iterations=3)
    inputs = random_inputs(case, CPU)
    truth = compute_expected(case, inputs)
    for check in (check_forward, check_both):
        assert check(contender.prepare_run(case), inputs, truth).complaint is None


@pytest.mark.parametrize("layer", ["sabour-digitcaps", "hinton-class"])
def test_the_usual_implementation_is_the_reference_in_float64(layer):
    case = small_case(layer, iterations=3)
    inputs = random_inputs(case, CPU).of_problems(torch.arange(case.problems), torch.double).requiring_grad()
    upstream = tuple(torch.randn_like(output) for output in route_usual(case, inputs))
    for mine, theirs in zip(
        *(
            [tensor for part in training_step(lambda i, r=route: r(case, i), inputs, upstream) for tensor in part]
            for route in (route_usual, REFERENCE)
        ),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_a_right_contender_has_a_time_a_ratio_and_the_peak_of_both_passes(benched):
    rows = benched(CONTENDERS["broadcast"], CONTENDERS["reference"])
    for row in rows.values():
        assert row["status"] == "ok"
        assert 0 < row["p20_s"] <= row["median_s"] <= row["p80_s"]
        assert row["n"] >= measure_module.LEAST
        assert row["error"] < 1e-5
        assert row["peak_bytes"] >= row["peak_bytes_floor"]
        assert row["floor_fraction"] == row["floor_s"] / row["median_s"]
    for pass_ in PASSES:
        medians = [rows[name, pass_]["median_s"] for name in ("broadcast", "reference")]
        assert rows["broadcast", pass_]["ratio"] == 1
        assert rows["reference", pass_]["ratio"] == medians[1] / medians[0]


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor):
        return tensor.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 1.001 * gradient


def route_scaled(case, inputs):
    return tuple(1.001 * output for output in REFERENCE(case, inputs))


def route_all_but_the_last(case, inputs):
    (poses,) = REFERENCE(case, inputs)
    return (torch.cat([poses[:-1], 0 * poses[-1:]]),)


def route_with_a_wrong_gradient(case, inputs):
    return REFERENCE(case, inputs._replace(weights=WrongGradient.apply(inputs.weights)))


def route_with_a_nan(case, inputs):
    (poses,) = REFERENCE(case, inputs)
    return (poses * torch.ones(case.problems, 1, 1, 1).index_fill(0, torch.tensor([1]), float("nan")),)


@pytest.mark.parametrize(
    ("route", "complaint"),
    [
        (route_scaled, "parent poses: off by"),
        (route_all_but_the_last, "parent poses: off by"),
        (route_with_a_wrong_gradient, "gradient of weights: off by"),
        (route_with_a_nan, "parent poses: not finite everywhere"),
        (
            lambda case, inputs: (REFERENCE(case, inputs)[0].flatten(2),),
            "parent poses: expected the shape [2, 3, 1, 16]",
        ),
    ],
)
def test_a_wrong_contender_gets_no_time_in_either_pass(benched, monkeypatch, route, complaint):
    monkeypatch.setattr(check_module, "CHECKED", 2)  # the first and the last problem
    rows = benched(CONTENDERS["broadcast"], Contender("mine", route))
    for pass_ in PASSES:
        row = rows["mine", pass_]
        assert row["status"].startswith(f"wrong: {complaint}")
        assert row["median_s"] is row["n"] is row["ratio"] is row["peak_bytes"] is None
    assert statuses_of(rows, "broadcast") == ["ok", "ok"]


def test_a_contender_that_raises_is_named_and_the_others_go_on(benched):
    def broken(case, inputs):
        raise TypeError("no such kernel\nwith details")

    rows = benched(CONTENDERS["broadcast"], Contender("mine", broken))
    assert statuses_of(rows, "mine") == ["failed: TypeError: no such kernel"] * 2
    assert statuses_of(rows, "broadcast") == ["ok", "ok"]


def test_a_contender_without_memory_for_the_backward_pass_keeps_its_forward_time(benched):
    def hungry(case, inputs):
        if torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")
        return REFERENCE(case, inputs)

    rows = benched(CONTENDERS["broadcast"], Contender("mine", hungry))
    assert statuses_of(rows, "mine") == ["ok", "out of memory"]
    assert rows["mine", "forward"]["median_s"] > 0
    assert rows["mine", "forward+backward"]["median_s"] is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system itself refuses")
def test_more_than_the_free_memory_is_refused_rather_than_granted(benched):
    def greedy(case, inputs):
        return (torch.empty(int(1.1 * measure_module.free_memory()) // 4),)

    rows = benched(CONTENDERS["broadcast"], Contender("mine", greedy))
    assert statuses_of(rows, "mine") == ["out of memory"] * 2
    assert statuses_of(rows, "broadcast") == ["ok", "ok"]


def test_a_case_too_large_for_its_own_inputs_is_out_of_memory(benched):
    rows = benched(CONTENDERS["broadcast"], case=small_case(batch=10**9, children=10**4))
    assert statuses_of(rows, "broadcast") == ["out of memory"] * 2


def test_a_failure_while_timing_ends_that_contender_only():
    calls = []

    def fails_late():
        calls.append(None)
        if len(calls) > 2:
            raise MemoryError

    taken, failed = time_interleaved({"one": lambda: None, "other": fails_late}, 1e-6, CPU)
    assert failed == {"other": "out of memory"}
    assert len(taken["one"]) >= measure_module.LEAST


def test_contenders_take_turns():
    order = []
    runs = {name: lambda name=name: order.append(name) for name in "abc"}
    taken, _ = time_interleaved(runs, 0.0, CPU)
    assert "".join(order) == "abc" + "cba" + "abc"
    assert {len(times) for times in taken.values()} == {measure_module.LEAST}


def test_who_cannot_run_here_is_listed_with_the_reason(benched, monkeypatch):
    def choose(backend, device):
        raise UnavailableBackend(backend, "it needs a CUDA device", "cpu")

    monkeypatch.setattr(contenders_module, "choose_backend", choose)
    rows = benched(CONTENDERS["broadcast"], CONTENDERS["triton"])
    assert statuses_of(rows, "triton") == ["unavailable: it needs a CUDA device"] * 2


def test_compiling_is_timed_apart_and_a_compiler_that_fails_skips_the_contender(benched, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda run, dynamic: run)
    rows = benched(CONTENDERS["broadcast"], CONTENDERS["broadcast-compiled"])
    for pass_ in PASSES:
        assert rows["broadcast-compiled", pass_]["compile_s"] > 0
        assert rows["broadcast", pass_]["compile_s"] is None

    def without_compiler(run, dynamic):
        def fails(inputs):
            raise RuntimeError("No working C++ compiler found")

        return fails

    monkeypatch.setattr(torch, "compile", without_compiler)
    rows = benched(CONTENDERS["broadcast"], CONTENDERS["broadcast-compiled"])
    said = "skipped: torch.compile: RuntimeError: No working C++ compiler found"
    assert statuses_of(rows, "broadcast-compiled") == [said] * 2


def test_without_the_baseline_there_is_no_ratio(benched):
    rows = benched(CONTENDERS["reference"])
    assert rows["reference", "forward"]["ratio"] is None
    assert rows["reference", "forward"]["median_s"] > 0


def test_threads_are_set_while_it_runs_and_then_as_before(monkeypatch):
    monkeypatch.setattr("capsbench_kernels.bench.measure_peaks", lambda device: Peaks(1e11, 1e10))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        rows = list(bench([small_case()], ["reference"], device=CPU, seconds=0.001, threads=1))
        assert {row["threads"] for row in rows} == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_peak_memory_holds_what_lives_at_once_results_included():
    def run():
        first = torch.ones(1000)
        second = first + 1
        del first
        return second * 2

    assert 8000 <= peak_memory(run, CPU) < 9000


def test_peaks_are_those_of_a_product_and_a_copy(monkeypatch):
    monkeypatch.setattr(measure_module, "MATRIX_SIDE", {"cpu": 64})
    monkeypatch.setattr(measure_module, "COPIED", {"cpu": 2**16})
    peaks = measure_peaks(CPU)
    assert peaks.flops > 0
    assert peaks.bandwidth > 0


def test_an_interrupt_is_not_a_failure():
    with pytest.raises(KeyboardInterrupt), name_failures(CPU):
        raise KeyboardInterrupt
    with pytest.raises(Failure) as caught, name_failures(CPU):
        raise KeyError("x")
    assert caught.value.reason == "KeyError: 'x'"


def test_a_sweep_is_every_combination_and_the_batch_a_layers_own():
    made = build_cases(
        ["sabour-digitcaps", "hinton-class"], iterations=[1, 2], dtypes=["float32", "float16"], device=CPU
    )
    assert len(made) == 8
    assert {case.batch for case in made} == {32}
    (on_gpu,) = build_cases(["sabour-digitcaps"], device=torch.device("cuda"))
    assert on_gpu.batch == 128
    assert replace(on_gpu, batch=32) == Case(LAYERS["sabour-digitcaps"], 32, 3, "float32")
