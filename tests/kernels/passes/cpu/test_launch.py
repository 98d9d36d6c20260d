"""The cuts of a pass into items, its threads, its scratch memory, and what is refused."""

import os
import subprocess
import sys

import pytest
import torch

from capsbench_kernels import Parents, UnavailableBackend, vote_pass
from capsbench_kernels.passes.cpu import launch
from tests.kernels.passes.cases import FIELDS, assert_close_by_name, draw_problem, run_pass


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


def test_tensors_elsewhere_are_refused():
    poses, weights = torch.empty(1, 2, 1, 2, device="meta"), torch.empty(2, 2, 2, 2, device="meta")
    with pytest.raises(UnavailableBackend) as caught:
        vote_pass(poses, weights, Parents(), backend="cpu")
    assert (caught.value.value, caught.value.expected) == ("cpu", "reference")
    assert "meta" in caught.value.reason


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


@pytest.mark.parametrize("fields", [FIELDS, ["direction"], ["gaussian"], ["direction", "gaussian"], ["bias", "offset"]])
def test_a_launch_gives_the_sums_and_gradients_of_the_reference(finely_cut, fields):
    tensors = draw_problem((5, 7, 3, 2, 3, 5), fields)
    for ours, theirs in zip(run_pass(tensors, "cpu"), run_pass(tensors, "reference"), strict=True):
        assert_close_by_name(ours, theirs, 1e-12)
