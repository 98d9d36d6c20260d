"""Cells that are offered as jobs once they are free, and again after a worker was lost."""

import pytest

from capsbench.errors import ProcessFailed
from capsbench.planning.matrix import plan_cells
from capsbench.records.sharing.leases import Leases
from capsbench.running.executors.base import MOST_LOSSES, Job, WorkerLost
from capsbench.running.offers import OFFERED_AGAIN, Offers


@pytest.fixture
def cells():
    return plan_cells({"routing": "em", "iters": 1, "seeds": [0, 1, 2], "baseline": "none"})


def make_job(planned):
    return Job(planned.cell.id, print, ())


def offer(folder, cells, leases=None, make_job=make_job, say=lambda line: None):
    leases = leases or Leases(folder)
    return Offers(cells, leases, make_job, say, leases.is_held)


def test_cells_that_another_process_has_come_last(tmp_path, cells):
    other, lines = Leases(tmp_path), []
    other.take(cells[0].cell.id)
    offers = offer(tmp_path, cells, say=lines.append)
    jobs = iter(offers)
    for planned in cells[1:]:
        assert next(jobs).name == planned.cell.id
        offers.end(planned.cell.id)
    assert [next(jobs), next(jobs)] == [None, None]
    other.release(cells[0].cell.id)
    assert next(jobs).name == cells[0].cell.id
    offers.end(cells[0].cell.id)
    assert list(jobs) == []
    assert lines == ["waiting for 1 cell that another run works on"]


def test_the_lease_of_a_cell_with_nothing_to_do_is_given_back(tmp_path, cells):
    leases = Leases(tmp_path)
    assert list(offer(tmp_path, cells, leases, lambda planned: None)) == []
    assert leases.held == {}


def test_a_lease_is_given_back_when_the_job_ends(tmp_path, cells):
    leases = Leases(tmp_path)
    offers = offer(tmp_path, cells[:1], leases)
    jobs = iter(offers)
    assert next(jobs).name == cells[0].cell.id
    assert [next(jobs), {*leases.held}] == [None, {cells[0].cell.id}]
    offers.end(cells[0].cell.id)
    assert [*jobs, *leases.held] == []


def test_the_job_of_a_lost_worker_is_made_anew_and_offered_before_others(tmp_path, cells):
    made, lines = [], []

    def count_jobs(planned):
        made.append(planned.cell.id)
        return Job(planned.cell.id, print, (len(made),))

    leases, name = Leases(tmp_path), cells[0].cell.id
    offers = offer(tmp_path, cells, leases, count_jobs, lines.append)
    jobs = iter(offers)
    next(jobs), next(jobs)
    assert offers.settle(name, WorkerLost("node 1 is gone")) is OFFERED_AGAIN
    again = [next(jobs), next(jobs)]
    assert [(job.name, job.arguments) for job in again if job.name == name] == [(name, (3,))]
    assert leases.is_held(name)
    assert len(lines) == 1
    assert "node 1 is gone" in lines[0]


def test_a_job_that_loses_too_many_workers_has_failed(tmp_path, cells):
    name, loss = cells[0].cell.id, WorkerLost("node 1 is gone")
    offers = offer(tmp_path, cells[:1])
    jobs = iter(offers)
    for _ in range(MOST_LOSSES):
        assert next(jobs).name == name
        assert offers.settle(name, loss) is OFFERED_AGAIN
    assert next(jobs).name == name
    failure = offers.settle(name, loss)
    assert type(failure) is ProcessFailed
    offers.end(name)
    assert list(jobs) == []


def test_a_worker_that_was_lost_with_nothing_left_to_do_has_ended_its_job(tmp_path, cells):
    jobs = [make_job(cells[0]), None]
    offers = offer(tmp_path, cells[:1], make_job=lambda planned: jobs.pop(0))
    next(iter(offers))
    assert offers.settle(cells[0].cell.id, WorkerLost("gone")) is None


def test_a_cell_that_another_process_took_over_is_offered_again_once_it_is_free(tmp_path, cells):
    leases, other, lines = Leases(tmp_path), Leases(tmp_path, seconds_until_stale=0), []
    offers, name = offer(tmp_path, cells[:1], leases, say=lines.append), cells[0].cell.id
    jobs = iter(offers)
    assert next(jobs).name == name
    assert [other.take(name), other.take(name)] == [False, True]  # seen once, and not renewed since
    assert offers.settle(name, "a result") is OFFERED_AGAIN
    assert (next(jobs), leases.is_held(name)) == (None, False)
    other.release(name)
    assert next(jobs).name == name
    assert offers.settle(name, "a result") == "a result"
    offers.end(name)
    assert list(jobs) == []
    assert "another run has taken it over" in lines[0]
