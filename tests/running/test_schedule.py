"""The order of cells, and what a budget of time leaves of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

import capsbench
from capsbench.errors import Kind, UsageError
from capsbench.planning.matrix import PlannedCell
from capsbench.records.record import Measurement, Record
from capsbench.records.store import Store
from capsbench.running.estimate import SECONDS_OF_OVERHEAD, Estimate
from capsbench.running.schedule import BudgetSchedule, Schedule
from tests.making import make_capsules, make_record

QUICK = {"routing": "uniform", "train_size": 30, "epochs": 1, "baseline": "matched", "measure": "accuracy"}


def plan(*measures: str, seeds: int = 2, **fields: object) -> list[PlannedCell]:
    return [PlannedCell(make_capsules(seed=seed, **fields), measures) for seed in range(seeds)]


def make_schedule(ends: float, *cells: PlannedCell, seconds: list[float], **how: object) -> BudgetSchedule:
    """A schedule whose clock stands at 0; a duration of nan is unknown."""
    estimates = {job.cell.id: each for job, each in zip(cells, seconds, strict=True) if not math.isnan(each)}
    return BudgetSchedule(ends, cells, estimates, clock=lambda: 0.0, **how)  # type: ignore[arg-type]


def test_without_a_budget_cnns_and_many_iterations_come_first() -> None:
    one, three, cnn = plan(seeds=1, iterations=1), plan(seeds=1), plan(seeds=1, routing=None, iterations=None)
    schedule = Schedule()
    assert schedule.sort([*one, *three, *cnn]) == [*cnn, *three, *one]
    assert schedule.admits(one[0])
    assert schedule.seconds_left() is None


def test_a_comparison_is_completed_before_its_second_seed_and_the_next_one() -> None:
    capsules, cnn = plan(), plan(network="matched", routing=None)
    slow, slow_cnn = plan(dataset="mnist"), plan(dataset="mnist", network="matched", routing=None)
    cells = [*capsules, *cnn, *slow, *slow_cnn]
    schedule = make_schedule(100, *cells, seconds=[9, 9, 5, 5, 30, 30, 2, 2])
    order = [cnn[0], capsules[0], slow_cnn[0], slow[0], cnn[1], capsules[1], slow_cnn[1], slow[1]]
    assert schedule.sort(reversed(cells)) == order


def test_a_round_counts_the_seeds_on_record() -> None:
    capsules, cnn = plan(), plan(network="matched", routing=None)
    schedule = make_schedule(100, *capsules, *cnn, seconds=[1, 1, 50, 50])
    assert schedule.sort([capsules[1], *cnn]) == [cnn[0], capsules[1], cnn[1]]


def test_a_cell_starts_only_if_it_is_expected_to_end_in_time() -> None:
    short, long, unknown = (plan(seeds=1, iterations=n)[0] for n in (1, 2, 3))
    schedule = make_schedule(10, short, long, unknown, seconds=[9, 11, math.nan])
    assert [schedule.admits(job) for job in (short, long, unknown)] == [True, False, True]
    schedule.ends = 0
    assert not schedule.admits(unknown)


def test_time_is_kept_for_the_measures_that_follow_all_trainings() -> None:
    first, second = plan("accuracy", "speed")
    schedule = make_schedule(10 + SECONDS_OF_OVERHEAD, first, second, seconds=[10, 10])
    assert schedule.admits(first)
    assert schedule.seconds_left() == 10
    assert not schedule.admits(second)
    schedule.end_training()
    assert schedule.seconds_left() is None  # they end
    assert schedule.admits(second)


def test_the_time_that_a_cell_took_replaces_the_estimate_of_its_other_seeds() -> None:
    first, second = plan("accuracy", "speed")
    schedule = make_schedule(30, first, second, seconds=[10, 10])
    schedule.note_record(_make_record(first, seconds=40.0))
    assert schedule.expect(second) == 42.0
    assert not schedule.admits(second)


def test_a_checkpoint_shortens_a_training() -> None:
    (job,) = plan(seeds=1)
    schedule = make_schedule(5, job, seconds=[20], done={job.cell.id: 0.75})
    assert schedule.expect(job) == 5
    assert schedule.admits(job)


def test_what_waits_is_listed_in_its_order_with_the_rest_of_its_time() -> None:
    cells = [*plan(), *plan(network="matched", routing=None)]
    schedule = make_schedule(5, *cells, seconds=[20, 20, 8, math.nan], read_done=lambda jobs: {cells[0].cell.id: 0.5})
    left = [cells[0].cell.id, cells[2].cell.id, cells[3].cell.id]
    waiting = schedule.list_waiting(cells, left, trained=[])
    assert [(each.cell, each.seconds) for each in waiting] == [(left[1], 8.0), (left[0], 10.0), (left[2], None)]


@pytest.mark.parametrize(("workers", "count"), [(1, 2), (2, 4), (3, 4)])
def test_a_simulation_fills_all_workers(workers: int, count: int) -> None:
    cells = plan(seeds=4)
    schedule = make_schedule(20, *cells, seconds=[10, 10, 10, 10])
    assert schedule.simulate(cells, workers) == cells[:count]


@pytest.fixture
def slow_cnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates of no time for capsule networks, and of a million seconds for CNNs."""

    def estimate(planned: list[PlannedCell], *rest: object, **how: object) -> Estimate:
        return Estimate(seconds_of={job.cell.id: 0.0 if job.cell.has_routing else 1e6 for job in planned})

    monkeypatch.setattr("capsbench.running.schedule.estimate_duration", estimate)


@pytest.mark.usefixtures("in_one_process", "slow_cnn")
def test_a_run_leaves_what_does_not_fit_and_a_later_one_goes_on(tmp_path) -> None:
    outcome = capsbench.run(**QUICK, seeds=[0, 1], budget="1h", out=tmp_path)
    assert len(outcome.finished) == 2
    assert [(each.cell, each.seconds) for each in outcome.waiting] == [(cell, 1e6) for cell in outcome.left]
    assert not outcome.interrupted
    cells = capsbench.cells(**QUICK, seeds=[0, 1])
    assert {record.cell for record in Store(tmp_path).records()[0]} == {cell for cell in cells if cell.has_routing}
    whole = capsbench.run(**QUICK, seeds=[0, 1], out=tmp_path)
    assert (len(whole.on_record), len(whole.finished), whole.waiting) == (2, 2, [])


@pytest.mark.parametrize(
    ("how", "kind"), [({"budget": "8 hours"}, Kind.INVALID), ({"budget": "8h", "executor": "ray"}, Kind.CONFLICT)]
)
def test_a_wrong_budget_is_refused_before_anything_runs(how: dict, kind: Kind, tmp_path) -> None:
    with pytest.raises(UsageError) as caught:
        capsbench.run(**QUICK, seeds=0, out=tmp_path / "out", **how)
    assert (caught.value.kind, caught.value.flag) == (kind, "budget")
    assert not (tmp_path / "out").exists()


def _make_record(job: PlannedCell, seconds: float) -> Record:
    """A record whose training took some seconds, its accuracy 2 more, and its speed 100."""
    record = make_record(job.cell, seconds=seconds)
    measures = {"accuracy": Measurement(seconds=2.0), "speed": Measurement(seconds=100.0)}
    return replace(record, measures=measures)
