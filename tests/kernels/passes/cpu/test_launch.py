"""The launch of passes on the CPU: compiled types, memory, and what is refused."""

import os
import subprocess
import sys

import pytest
import torch

from capsbench_kernels.passes.cpu import launch
from capsbench_kernels.passes.cpu.passes import spread_item, sweep_item
from tests.kernels.passes.cases import FIELDS, assert_close_by_name, draw_problem, run_pass


def test_absent_tensors_have_kernels_compiled_for_the_same_types(finely_cut):
    """Each further combination of types would be compiled for seconds."""
    for fields in (FIELDS, []):
        run_pass(draw_problem((5, 7, 3, 2, 3, 5), fields), "cpu")
    for kernel in (sweep_item, spread_item):
        assert len([types for types in kernel.signatures if str(types[-1]) == "float64"]) == 1


def test_what_is_allocated_is_all_written(finely_cut, monkeypatch):
    tensors = draw_problem((17, 130, 3, 1, 2, 3), [field for field in FIELDS if field != "log_normaliser"])
    expected = run_pass(tensors, "cpu")
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, **how: empty(*shape, **how).fill_(float("nan")))
    for ours, theirs in zip(run_pass(tensors, "cpu"), expected, strict=True):
        for name in theirs:
            assert torch.equal(ours[name], theirs[name]), name


def test_tensors_elsewhere_are_refused():
    assert "mps" in launch.find_obstacle(torch.device("mps"))
    assert launch.find_obstacle(torch.device("cpu")) is None


def test_scratch_memory_is_seen_by_the_profiler(finely_cut):
    """The scratch memory of a second thread adds to the peak that a record states."""
    tensors = draw_problem((65, 300, 3, 2, 2, 3), ["gaussian"])
    allocated = {}
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            run_pass(tensors, "cpu")
            with torch.profiler.profile(profile_memory=True, acc_events=True) as profile:
                run_pass(tensors, "cpu")
            events = profile.profiler.kineto_results.events()
            allocated[threads] = sum(max(0, event.nbytes()) for event in events if event.name() == "[memory]")
    finally:
        torch.set_num_threads(before)
    assert allocated[2] > allocated[1] + 100_000


@pytest.mark.slow
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
    )
    assert done.stdout.startswith("cpu "), done.stderr
    assert "NUMBA_DISABLE_JIT" in done.stdout


@pytest.mark.parametrize("fields", [FIELDS, ["direction"], ["gaussian"], ["direction", "gaussian"], ["bias", "offset"]])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_launch_gives_the_sums_and_gradients_of_the_reference(finely_cut, fields, rows):
    tensors = draw_problem((5, 7, 3, rows, 3, 5), fields)
    for ours, theirs in zip(run_pass(tensors, "cpu"), run_pass(tensors, "reference"), strict=True):
        assert_close_by_name(ours, theirs, 1e-12)


def test_loaded_kernels_are_there_for_float32():
    launch.load_kernels()
    assert sweep_item.signatures
    assert spread_item.signatures
