"""The cuts of a pass into items, and the threads that work them off."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from capsbench_kernels.passes.cpu import threads
from capsbench_kernels.passes.cpu.layout import Layer
from capsbench_kernels.passes.cpu.memory import Memory
from tests.kernels.passes.cases import draw_problem, run_pass


@pytest.mark.parametrize(
    ("sizes", "plan"),
    [
        ((3, 20, 5, 4, 4, 4), (2, [2], [3])),
        # Items of 2^18 vote values: one fewer parent, and there is one item.
        ((16, 128, 16, 1, 8, 16), (4, [4, 8], [8])),
        ((16, 128, 15, 1, 8, 16), (4, [8], [8])),
        # First by problems, as far as the copies of the weights are a sixteenth of the votes,
        ((512, 112, 10, 4, 4, 4), (4, [7], [*range(32, 513, 32)])),
        ((512, 100, 10, 1, 8, 16), (4, [4, 7], [64, 128, 192, 256])),
        # and then by tiles of children.
        ((8, 300, 64, 16, 1, 16), (5, [10, 19], [1, 2, 3, 4, 5, 6, 7, 8])),
        ((32, 1152, 10, 1, 8, 16), (6, [*range(6, 73, 6)], [16])),
    ],
)
def test_a_pass_is_cut_into_items_by_its_shape(sizes, plan):
    tile, groups, units = threads.cut_pass(Layer.of_sizes(*sizes))
    assert (tile, [last for _, last in groups], [last for _, last in units]) == plan
    for stretches in (groups, units):
        assert [first for first, _ in stretches] == [0, *(last for _, last in stretches[:-1])]


def test_items_cover_every_child_of_every_problem_once(finely_cut, items):
    run_pass(draw_problem((65, 300, 2, 2, 2, 3), ["gaussian", "bias", "activations"]), "cpu")
    ranges = items["spread_item"][: len(items["spread_item"]) // 2]  # those of one of two passes
    assert len(ranges) > 4
    covered = [(group, unit) for g, to_g, u, to_u in ranges for group in range(g, to_g) for unit in range(u, to_u)]
    assert sorted(covered) == [(group, unit) for group in range(19) for unit in range(65)]


def test_the_bits_depend_neither_on_the_run_nor_on_the_threads(finely_cut, items):
    tensors = draw_problem((65, 300, 3, 2, 2, 3), ["gaussian", "direction", "activations"], torch.float)
    made = []
    before = torch.get_num_threads()
    try:
        for count in (1, 2, 2, 3):
            torch.set_num_threads(count)
            made.append([*run_pass(tensors, "cpu")[0].values(), *run_pass(tensors, "cpu")[1].values()])
    finally:
        torch.set_num_threads(before)
    assert len(items["sweep_item"]) > 40
    for other in made[1:]:
        for first, second in zip(made[0], other, strict=True):
            assert torch.equal(first, second)


def test_a_thread_that_has_not_begun_is_not_waited_for():
    """The other threads of the pool are kept busy: this one finishes all items alone."""
    before, layer = torch.get_num_threads(), Layer.of_sizes(1, 16, 1, 1, 1, 1)
    torch.set_num_threads(2)
    busy, finished = threading.Event(), []
    try:
        pool = threads._thread_pool(os.getpid(), 2)
        blocked = [pool.submit(busy.wait) for _ in range(2)]
        plan = threads.Plan(1, [(0, 1)], [(unit, unit + 1) for unit in range(9)])
        threads.run_items(layer, plan, Memory(torch.float), lambda item, part, unit_part: finished.append(unit_part))
        assert finished == [*range(9)]
        assert not any(future.done() for future in blocked)
    finally:
        busy.set()
        torch.set_num_threads(before)


def test_an_error_in_an_item_reaches_the_caller():
    layer, plan = Layer.of_sizes(1, 16, 1, 1, 1, 1), threads.Plan(1, [(0, 1)], [(0, 1)] * 4)

    def fail(item, part, unit_part):
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        threads.run_items(layer, plan, Memory(torch.float), fail)


@pytest.mark.slow
def test_a_forked_process_has_threads_of_its_own():
    script = """
import os, torch
from capsbench_kernels.passes.cpu import threads
from capsbench_kernels import dynamic_routing
threads.VOTE_VALUES_AN_ITEM = 1
torch.set_num_threads(2)
poses, weights = torch.ones(8, 300, 1, 2), torch.ones(300, 3, 2, 4)
expected = dynamic_routing(poses, weights, backend="cpu")
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(dynamic_routing(poses, weights, backend="cpu"), expected) else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=600).returncode == 0  # unless it hangs


@pytest.mark.slow
def test_a_pass_at_the_end_of_the_interpreter_computes():
    script = """
import atexit, torch
from capsbench_kernels import dynamic_routing
from capsbench_kernels.passes.cpu import threads
from threading import Thread, main_thread
threads.VOTE_VALUES_AN_ITEM = 1
torch.set_num_threads(2)
poses, weights = torch.ones(8, 300, 1, 2), torch.ones(300, 3, 2, 4, requires_grad=True)
expected = dynamic_routing(poses, weights, backend="cpu")

def route(place):
    routed = dynamic_routing(poses, weights, backend="cpu")
    routed.sum().backward()
    print(place, torch.equal(routed, expected), flush=True)

def route_after_main():
    main_thread().join()
    route("thread")

atexit.register(route, "atexit")
Thread(target=route_after_main).start()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert done.stderr == ""
    assert sorted(done.stdout.splitlines()) == ["atexit True", "thread True"]
