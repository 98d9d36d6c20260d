"""The release of torch's idle threads, each case in a process of its own, as OpenMP's state is that of a process."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from capsbench_kernels.passes.cpu import waiting

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")

PRELUDE = """
import os, sys, threading, time
import torch
from pathlib import Path

def count_threads():
    return len(os.listdir("/proc/self/task"))

def wait_for_threads(count):
    while count_threads() != count:  # a thread that has ended leaves the list a moment later
        time.sleep(0.001)

def run_loop():
    torch.ones(1 << 20).add_(1)

def run_in_child(function):
    child = os.fork()
    if child == 0:
        function()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

torch.set_num_threads(3)
"""
IMPORT = "from capsbench_kernels.passes.cpu.waiting import limit_spinning, release_idle_threads\n"


def run_script(text):
    undecided = {name: value for name, value in os.environ.items() if name not in waiting.CHOICES}
    environment = undecided | {"PYTHONPATH": os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))}
    script = PRELUDE + text + "\nprint('end')"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


@pytest.mark.slow
def test_the_team_of_the_calling_thread_ends_and_the_next_loop_starts_one():
    run_script(
        IMPORT
        + """
for _ in range(3):
    before = count_threads()
    run_loop()
    assert count_threads() == before + 2
    assert release_idle_threads()
    wait_for_threads(before)
    assert release_idle_threads()  # without a team

def run_in_thread():
    run_loop()
    with_team = count_threads()
    assert release_idle_threads()
    wait_for_threads(with_team - 2)
    outcomes.append(True)

run_loop()
outcomes = []
other = threading.Thread(target=run_in_thread)
other.start()
other.join()
assert outcomes == [True]
"""
    )


@pytest.mark.slow
def test_a_fork_has_no_team_to_wait_for():
    run_script(
        IMPORT
        + """
run_loop()

def child():
    assert release_idle_threads()
    run_loop()
    assert release_idle_threads()

run_in_child(child)
"""
    )


@pytest.mark.slow
def test_nothing_is_released_after_a_fork_that_may_have_left_a_team_behind():
    run_script(
        f"""
run_loop()

def child():
    {IMPORT}
    assert not release_idle_threads()

run_in_child(child)
"""
    )


def test_nothing_happens_where_openmp_has_no_pause(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda path: object())
    assert waiting._find_pause.__wrapped__() is None


@pytest.mark.slow
def test_a_team_is_parked_once_in_a_process():
    run_script(
        IMPORT
        + """
run_loop()
before = count_threads()
assert limit_spinning()
assert count_threads() == before + 2
assert limit_spinning()
run_loop()
assert count_threads() == before + 2

def child():
    assert limit_spinning()
    run_loop()
    assert release_idle_threads()

run_in_child(child)
"""
    )


def test_another_openmp_is_left_alone(monkeypatch):
    for choice in waiting.CHOICES:
        monkeypatch.delenv(choice, raising=False)
    intel = type("Intel", (), {"GOMP_parallel": None, "__kmpc_fork_call": None})
    monkeypatch.setattr(ctypes, "CDLL", lambda path: intel)
    assert not waiting.limit_spinning.__wrapped__()


@pytest.mark.parametrize("choice", waiting.CHOICES)
def test_the_choice_of_a_user_is_left_alone(choice, monkeypatch):
    monkeypatch.setenv(choice, "active")
    monkeypatch.setattr(waiting, "_load_openmp", lambda: pytest.fail("OpenMP is asked for"))
    assert not waiting.limit_spinning.__wrapped__()


@pytest.mark.slow
def test_a_pass_on_several_threads_parks_a_team():
    run_script(
        """
import capsbench_kernels.passes.cpu.threads as threads
from capsbench_kernels import dynamic_routing
poses, weights = torch.ones(8, 300, 1, 2), torch.ones(300, 3, 2, 4)
expected = dynamic_routing(poses, weights, backend="cpu")
assert "parked-openmp-team" not in {thread.name for thread in threading.enumerate()}
threads.VOTE_VALUES_AN_ITEM = 1
assert torch.allclose(dynamic_routing(poses, weights, backend="cpu"), expected)
assert "parked-openmp-team" in {thread.name for thread in threading.enumerate()}
"""
    )
