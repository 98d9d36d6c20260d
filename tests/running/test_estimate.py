"""The estimate of a dry run: bounded in time, whatever a network takes, and one that fails does not take the rest with it."""

import itertools
import os
import pickle
from pathlib import Path

import pytest
import torch

import capsbench
from capsbench.errors import Kind, ProcessFailed, UsageError
from capsbench.networks.build import build_network
from capsbench.planning.matrix import plan_cells
from capsbench.running import estimate as module
from capsbench.running.estimate import (
    SECONDS_OF_OVERHEAD,
    SECONDS_OF_TIMING,
    SECONDS_TO_START,
    TIMED_STEPS,
    NotTimed,
    Timed,
    Timing,
    estimate_duration,
    time_networks,
)


class Machine:
    """Processes on a clock of their own, one after the other: each is up after ``start`` s, and times its networks in turn.

    Of each network there is a number, the seconds of a step, of which it takes three; or what happens instead: text is the reason
    why it cannot be timed, and an exception ends the process.
    """

    def __init__(self, *networks, start=1.0):
        self.networks, self.start, self.now, self.begun = iter(networks), start, 0.0, 0

    def clock(self):
        return self.now

    def in_processes(self, jobs, workers, on_event, seconds_left, fork):
        assert workers == 1
        for job in jobs:
            if not self.wait(self.start, seconds_left):
                return
            result = yield from self.time_networks(job, on_event, seconds_left)
            if result is TimeoutError:
                return
            yield job.name, result

    def time_networks(self, job, on_event, seconds_left):
        for name, cells in job.arguments[0].items():
            self.begun += 1
            on_event(job.name, Timing(name))
            network = next(self.networks)
            if isinstance(network, Exception):
                return network
            if isinstance(network, str):
                on_event(job.name, NotTimed(name, network))
                continue
            for _ in range(3):
                if not self.wait(network, seconds_left):
                    return TimeoutError
                on_event(job.name, Timed(name, {each.cell.id: 100 * network * each.cell.epochs for each in cells}))
        return None
        yield

    def wait(self, seconds, seconds_left):
        """Lets time pass; False where the process is ended before."""
        left = seconds_left()
        self.now += min(seconds, left)
        return seconds < left


@pytest.fixture
def on(monkeypatch):
    """Makes the estimate of some cells on a machine, one process at a time."""
    monkeypatch.setattr(module, "default_workers", lambda planned: 1)

    def make(machine, cells):
        monkeypatch.setattr(module, "in_processes", machine.in_processes)
        return estimate_duration(cells, (), Path(), clock=machine.clock)

    return make


def cells(**request):
    return plan_cells({"routing": "dynamic", "baseline": "none", "measure": "none", "epochs": 1, **request})


def test_networks_that_are_timed_in_time_give_the_whole(on):
    made = on(Machine(0.1, 0.2), cells(iters=[1, 3], seeds=[0, 1]))
    assert (made.timed, made.networks, made.failed) == (2, 2, {})
    assert made.seconds == pytest.approx(2 * 10 + 2 * 20 + 4 * SECONDS_OF_OVERHEAD)


def test_cells_of_equal_steps_are_timed_once(on):
    planned = cells(iters=1, seeds=[0, 1], epochs=[1, 4], lr=[0.01, 0.02], train_size=[200, 300])
    made = on(Machine(0.1), planned)
    assert (made.timed, made.networks) == (1, 1)
    assert made.seconds == pytest.approx(8 * 10 + 8 * 40 + 16 * SECONDS_OF_OVERHEAD)


@pytest.mark.parametrize(
    "axis",
    [
        {"batch": [32, 64]},
        {"train_size": [30, 200]},  # of which the first has no whole batch
        {"reconstruction": ["yes", "no"]},
        {"precision": ["float32", "float64"]},
        {"clip": [0, 1]},
        {"threads": [1, 2]},
        {"squash": ["sabour", "unit"]},
    ],
    ids=lambda axis: next(iter(axis)),
)
def test_cells_of_other_steps_are_not(on, axis):
    assert on(Machine(0.1, 0.2), cells(iters=1, seeds=0, **axis)).networks == 2


def test_timing_ends_in_bounded_time_and_says_how_many_networks_it_has(on):
    machine = Machine(2.0, 2.5, 4.0, 4.0, start=1.0)
    made = on(machine, cells(iters=[1, 2, 3, 4], seeds=0))
    assert machine.now == pytest.approx(1.0 + 2.0 + SECONDS_OF_TIMING)
    assert machine.begun == 2
    assert (made.timed, made.networks) == (2, 4)
    assert made.seconds == pytest.approx(200 + 250 + 2 * SECONDS_OF_OVERHEAD)


def test_a_network_counts_as_timed_from_its_first_step_on(on):
    made = on(Machine(6.0), cells(iters=1, seeds=0))
    assert (made.timed, made.seconds) == (1, pytest.approx(600 + SECONDS_OF_OVERHEAD))


def test_a_step_that_takes_forever_is_ended(on):
    machine = Machine(1.0, 1e9)
    made = on(machine, cells(iters=[1, 3], seeds=0))
    assert machine.now == pytest.approx(2.0 + SECONDS_OF_TIMING)
    assert (made.timed, made.networks, made.seconds) == (1, 2, pytest.approx(100 + SECONDS_OF_OVERHEAD))


@pytest.mark.parametrize("machine", [Machine(1.0, start=1e9), Machine(1e9)], ids=["start", "first step"])
def test_a_process_that_never_takes_a_step_is_ended(on, machine):
    made = on(machine, cells(iters=1, seeds=0))
    assert (made.timed, made.networks, made.seconds) == (0, 1, 0)
    assert machine.now == pytest.approx(SECONDS_TO_START)


@pytest.mark.parametrize("failure", ["out of memory: 4 GiB", ProcessFailed("out of memory: 4 GiB")])
def test_the_cell_whose_estimate_fails_is_named_and_the_others_are_timed(on, failure):
    planned = cells(iters=[1, 2, 3], seeds=0)
    made = on(Machine(0.5, failure, 0.5), planned)
    assert made.failed == {planned[1].cell.title: "out of memory: 4 GiB"}
    assert (made.timed, made.networks) == (2, 3)
    assert made.seconds == pytest.approx(2 * 50 + 2 * SECONDS_OF_OVERHEAD)


def test_what_a_run_would_refuse_is_refused(on):
    with pytest.raises(UsageError):
        on(Machine(UsageError(Kind.MISSING, flag="dataset")), cells(iters=1, seeds=0))


def test_the_small_networks_are_timed_first(on):
    planned = cells(size=["small", "tiny"], iters=1, seeds=0)
    assert [each.cell.size for each in planned] == ["small", "tiny"]
    made = on(Machine("too much", 0.5), planned)
    assert made.failed.keys() == {planned[1].cell.title}


def test_many_networks_are_divided_among_processes(monkeypatch):
    taken = []

    def in_processes(jobs, workers, on_event, seconds_left, fork):
        for job in jobs:
            if job is None:
                return
            taken.append((workers, job.name, [*job.arguments[0]]))
        yield from ()

    monkeypatch.setattr(module, "in_processes", in_processes)
    monkeypatch.setattr(module, "default_workers", lambda planned: 8)
    monkeypatch.setattr(module, "NETWORKS_A_PROCESS", 2)
    made = estimate_duration(cells(iters=[1, 2, 3, 4, 5], seeds=0), (), Path())
    assert [workers for workers, *_ in taken] == [3, 3, 3]
    assert [len(networks) for *_, networks in taken] == [2, 2, 1]
    assert len({network for *_, networks in taken for network in networks}) == made.networks == 5


@pytest.fixture
def step_seconds(in_one_process, monkeypatch):
    """The seconds that a training step takes, by the number of its images; the numbers that are asked for are noted."""
    asked, seconds = [], {}

    def time_step(step, batch):
        asked.append(len(batch.labels))
        return seconds[len(batch.labels)]

    monkeypatch.setattr(module, "_time_step", time_step)
    return asked, seconds


@pytest.mark.parametrize(
    ("part", "timed", "an_image"), [(0.01, [8, 8, *TIMED_STEPS * [64]], 2.0 / 64), (1.0, [8, 8], 1.0 / 8)]
)
def test_a_slow_step_is_timed_on_a_part_of_a_batch(step_seconds, part, timed, an_image):
    asked, seconds = step_seconds
    seconds |= {8: part, 64: 2.0}
    (planned,) = cells(iters=1, seeds=0, train_size=200)
    events = []
    time_networks({"one": [planned]}, (), Path(), events.append)
    assert asked == timed
    assert events[0] == Timing("one")
    assert events[-1].network == "one"
    images = 200 + 200 / 3 + 700 / 3  # of validation and test together
    assert events[-1].seconds == {planned.cell.id: pytest.approx(an_image * images)}


def test_a_network_that_cannot_be_timed_does_not_end_the_process(step_seconds, monkeypatch):
    _, seconds = step_seconds
    seconds |= {8: 0.1, 64: 0.2}
    first, second = cells(iters=[1, 2], seeds=0)
    build = module.build_network

    def build_one(cell):
        if cell == first.cell:
            raise RuntimeError("can't allocate memory: you tried to allocate 4 GiB")
        return build(cell)

    monkeypatch.setattr(module, "build_network", build_one)
    events = []
    time_networks({"one": [first], "two": [second]}, (), Path(), events.append)
    assert [type(event) for event in events[:3]] == [Timing, NotTimed, Timing]
    assert events[1].network == "one"
    assert "4 GiB" in events[1].reason
    assert events[-1].network == "two"


@pytest.mark.parametrize(("threads", "fork"), [([1], True), ([2], False), ([1, 2], False)])
def test_networks_of_several_threads_are_not_timed_in_a_fork(monkeypatch, threads, fork):
    seen = []

    def in_processes(jobs, workers, on_event, seconds_left, fork):
        seen.append(fork)
        pickle.dumps([*itertools.islice(jobs, 1)])
        yield from ()

    monkeypatch.setattr(module, "in_processes", in_processes)
    estimate_duration(cells(iters=1, seeds=0, device="cpu", threads=threads), {"record": None}.keys(), Path())
    assert seen == [fork]


def test_the_networks_are_timed_in_a_fork_of_this_process(monkeypatch):
    parents = []
    monkeypatch.setattr(module, "_time_step", lambda step, batch: parents.append(os.getppid()) or 0.5 + os.getppid())
    planned = cells(iters=1, seeds=0, train_size=200, device="cpu")
    made = estimate_duration(planned, (), Path())
    assert parents == []
    assert made.timed == 1
    images = 200 + 200 / 3 + 700 / 3  # of validation and test together
    workers = module.default_workers(planned)
    assert made.seconds == pytest.approx((0.5 + os.getpid()) / 8 * images / workers + SECONDS_OF_OVERHEAD)


def test_a_network_whose_weights_are_given_is_not_timed_for_a_training_that_it_has_not(tmp_path, monkeypatch):
    (cell,) = capsbench.cells(network="resnet", size="tiny", seeds=0)
    torch.save(build_network(cell).state_dict(), tmp_path / "resnet.pt")
    asked = {"network": "resnet", "size": "tiny", "weights": str(tmp_path / "resnet.pt")}
    monkeypatch.setattr(module, "in_processes", lambda jobs, *others, **more: iter([*jobs]))
    made = estimate_duration(plan_cells({**asked, "measure": "accuracy"}), (), Path())
    assert (made.networks, made.seconds) == (0, SECONDS_OF_OVERHEAD)
