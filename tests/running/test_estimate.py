"""The estimate of a dry run: bounded in time, whatever a network takes, and one that fails does not take the rest with it."""

from pathlib import Path

import pytest

from capsbench.errors import Kind, ProcessFailed, UsageError
from capsbench.planning.matrix import plan_cells
from capsbench.running import estimate as module
from capsbench.running.estimate import (
    SECONDS_OF_OVERHEAD,
    SECONDS_OF_TIMING,
    SECONDS_TO_START,
    STARTED,
    estimate_duration,
)


class Machine:
    """Processes on a clock of their own: each of ``networks`` is up after ``start`` s, and then ends as it says.

    A number is the seconds of one of its steps, of which it takes three; anything else is what it ends with before the first.
    """

    def __init__(self, *networks, start=1.0):
        self.networks, self.start, self.now, self.begun = networks, start, 0.0, 0

    def clock(self):
        return self.now

    def in_processes(self, jobs, workers, on_event, seconds_left):
        for job, network in zip(jobs, self.networks, strict=True):
            if seconds_left() <= 0:
                return
            self.begun += 1
            if not self.wait(self.start, seconds_left):
                return
            on_event(job.name, STARTED)
            if isinstance(network, Exception):
                yield job.name, network
                continue
            for _ in range(3):
                if not self.wait(network, seconds_left):
                    return
                on_event(job.name, 100 * network)
            yield job.name, None

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
    return plan_cells({"routing": "dynamic", "baseline": "none", "measure": "none", **request})


def test_networks_that_are_timed_in_time_give_the_whole(on):
    made = on(Machine(0.1, 0.2), cells(iters=[1, 3], seeds=[0, 1]))
    assert (made.timed, made.networks, made.failed) == (2, 2, {})
    assert made.seconds == pytest.approx(2 * 10 + 2 * 20 + 4 * SECONDS_OF_OVERHEAD)


def test_timing_ends_in_bounded_time_and_says_how_many_networks_it_has(on):
    machine = Machine(2.0, 4.0, 4.0, 4.0, start=1.0)
    made = on(machine, cells(iters=[1, 2, 3, 4], seeds=0))
    assert machine.now == pytest.approx(1.0 + SECONDS_OF_TIMING)
    assert machine.begun == 2
    assert (made.timed, made.networks) == (1, 4)
    assert made.seconds == pytest.approx(200 + SECONDS_OF_OVERHEAD)


def test_a_network_counts_as_timed_from_its_first_step_on(on):
    made = on(Machine(6.0), cells(iters=1, seeds=0))
    assert (made.timed, made.seconds) == (1, pytest.approx(600 + SECONDS_OF_OVERHEAD))


def test_a_step_that_takes_forever_is_ended(on):
    machine = Machine(1e9, 1.0)
    made = on(machine, cells(iters=[1, 3], seeds=0))
    assert machine.now == pytest.approx(1.0 + SECONDS_OF_TIMING)
    assert (made.timed, made.networks, made.seconds) == (0, 2, 0)


def test_a_process_that_is_never_up_is_ended(on):
    machine = Machine(1.0, start=1e9)
    assert on(machine, cells(iters=1, seeds=0)).timed == 0
    assert machine.now == pytest.approx(SECONDS_TO_START + SECONDS_OF_TIMING)


def test_the_cell_whose_estimate_fails_is_named_and_the_others_are_timed(on):
    planned = cells(iters=[1, 3], seeds=0)
    made = on(Machine(ProcessFailed("out of memory: 4 GiB"), 0.5), planned)
    assert made.failed == {planned[0].cell.title: "out of memory: 4 GiB"}
    assert (made.timed, made.networks) == (1, 2)
    assert made.seconds == pytest.approx(50 + SECONDS_OF_OVERHEAD)


def test_what_a_run_would_refuse_is_refused(on):
    with pytest.raises(UsageError):
        on(Machine(UsageError(Kind.MISSING, flag="dataset")), cells(iters=1, seeds=0))


def test_the_small_networks_are_timed_first(on):
    planned = cells(size=["small", "tiny"], iters=1, seeds=0)
    assert [each.cell.size for each in planned] == ["small", "tiny"]
    made = on(Machine(ProcessFailed("too much"), 0.5), planned)
    assert made.failed.keys() == {planned[1].cell.title}
