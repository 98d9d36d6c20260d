"""Runs whose jobs record their results themselves: what they share, hand out and take over."""

from collections import Counter

import pytest

from capsbench.errors import ProcessFailed, StorageFailed
from capsbench.planning.matrix import plan_cells
from capsbench.records.record import TRAINING
from capsbench.records.store import Store
from capsbench.running.cell_job import run_cell
from capsbench.running.events import (
    CellEnded,
    JobReported,
    Measured,
    Measuring,
    MeasuringAlone,
    MeasuringBetween,
    Trained,
)
from capsbench.running.executors.base import Detached, FailureOnRecord, Place
from capsbench.running.runner import Runner
from capsbench.running.shares import Phase, SharingRunner, choose_runner

QUICK = dict(routing="dynamic", train_size=20, epochs=1, baseline="none", seeds=[0, 1])

MEASURES = """
from capsbench.measures.base import Measure, MeasureBetween
from capsbench.records.record import Row

class Alone(Measure):
    alone = True

    def __call__(self, subject):
        return [Row("alone", "seed", "network", float(subject.cell.seed), "seeds")]

class Between(MeasureBetween):
    def between(self, source, targets):
        return [[Row("between", "seeds", source.cell.id, float(target.cell.seed), "seeds")] for target in targets]
"""

pytestmark = pytest.mark.usefixtures("in_one_process")


class Nearby:
    """Runs each job at once, in this process, unless a test has another result for it."""

    records_results = True

    def __init__(self, folder, answer=lambda job: None):
        self.place, self.answer, self.ran, self.closed = Place(Store(folder), folder), answer, [], False

    def close(self):
        self.closed = True

    def run(self, jobs, notify, *, alone=False):
        for job in jobs:
            self.ran.append((job.arguments[0].phase, alone))
            if (result := self.answer(job)) is None:
                try:
                    job.function(*job.arguments, self.place, lambda event: None)
                except FailureOnRecord as failure:
                    result = failure
            yield job.name, result


class Listening:
    def __init__(self):
        self.events = []

    def notify(self, event):
        self.events.append(event)


@pytest.fixture
def run(tmp_path):
    def start(executor, listener=None, **request):
        how = {name: request.pop(name) for name in ("fresh", "train") if name in request}
        planned = plan_cells({**QUICK, "measure": "accuracy", **request})
        listener = listener or Listening()
        return SharingRunner(planned, Store(tmp_path), tmp_path, listener, executor=executor, **how).run()

    return start


def count_phases(executor):
    return Counter(phase for phase, _ in executor.ran)


def test_all_phases_are_recorded_by_jobs(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phases.py").write_text(MEASURES)
    executor, listener = Nearby(tmp_path), Listening()
    outcome = run(executor, listener, measure=["accuracy", "phases:Alone", "phases:Between"])
    assert count_phases(executor) == {Phase.TRAIN: 2, Phase.ALONE: 2, Phase.BETWEEN: 2}
    assert dict(executor.ran) == {Phase.TRAIN: False, Phase.ALONE: True, Phase.BETWEEN: False}
    assert executor.closed
    records, faults = Store(tmp_path).records()
    assert (len(outcome.finished), faults) == (2, [])
    assert {*records[0].measures} == {"accuracy", "phases:Alone"}
    assert len([*(tmp_path / "between" / "phases.Between").glob("*/*.json")]) == 4
    assert [*(tmp_path / "leases").iterdir()] == []
    kinds = Counter(type(event) for event in listener.events)
    assert (kinds[CellEnded], kinds[MeasuringAlone], kinds[MeasuringBetween]) == (2, 2, 1)


def test_listeners_are_told_what_jobs_recorded(run, tmp_path):
    listener = Listening()
    run(Nearby(tmp_path), listener)
    reports = [event.event for event in listener.events if isinstance(event, JobReported)]
    assert [type(report) for report in reports] == [Trained, Measuring, Measured] * 2
    records = {record.cell.seed: record for record in Store(tmp_path).records()[0]}
    assert reports[0].history == records[0].history
    assert reports[2].rows == records[0].measures["accuracy"].rows


def test_the_run_is_noted_once_and_records_name_it(run, tmp_path):
    run(Nearby(tmp_path))
    (note,) = Store(tmp_path).runs()
    assert {record.training.run for record in Store(tmp_path).records()[0]} == {note.sequence}


def test_what_is_on_record_is_not_handed_out(run, tmp_path):
    run(Nearby(tmp_path))
    executor = Nearby(tmp_path)
    outcome = run(executor, measure=["accuracy", "cost"])
    assert (count_phases(executor), len(outcome.finished)) == ({Phase.TRAIN: 2}, 2)
    executor = Nearby(tmp_path)
    outcome = run(executor, measure=["accuracy", "cost"])
    assert (executor.ran, len(outcome.on_record)) == ([], 2)


def test_a_fresh_run_trains_again(run, tmp_path):
    run(Nearby(tmp_path))
    run(Nearby(tmp_path), fresh=True)
    assert {record.training.run for record in Store(tmp_path).records()[0]} == {2}


def test_networks_on_record_are_measured_without_a_run(run, tmp_path):
    run(Nearby(tmp_path))
    outcome = run(Nearby(tmp_path), measure="cost", train=False)
    assert len(outcome.finished) == 2
    assert len(Store(tmp_path).runs()) == 1
    assert {*Store(tmp_path).records()[0][0].measures} == {"accuracy", "cost"}


def test_a_failed_cell_is_recorded_by_its_job_and_reported_once(run, tmp_path, monkeypatch):
    def fail_one(planned, *arguments):
        if planned.cell.seed == 1:
            raise ValueError("bad")
        return run_cell(planned, *arguments)

    monkeypatch.setattr("capsbench.running.runner.run_cell", fail_one)
    listener = Listening()
    outcome = run(Nearby(tmp_path), listener)
    (failed,) = outcome.failed
    assert (failed.cell.seed, [*failed.failures], "bad" in failed.reason) == (1, [TRAINING], True)
    assert failed == Store(tmp_path).read(failed.cell.id)
    assert sum(isinstance(event, CellEnded) for event in listener.events) == 2


def test_a_lost_job_is_a_failed_cell(run, tmp_path):
    def lose_one(job):
        return ProcessFailed("node lost") if job.arguments[0].planned[0].cell.seed == 1 else None

    outcome = run(Nearby(tmp_path, lose_one))
    (failed,) = outcome.failed
    assert (failed.reason, Store(tmp_path).read(failed.cell.id).reason) == ("node lost", "node lost")
    assert len(run(Nearby(tmp_path)).finished) == 1


def test_of_a_job_that_is_lost_after_its_training_the_measures_fail(run, tmp_path):
    def lose_after_training(job):
        job.function(*job.arguments, place, lambda event: None)
        store = Store(tmp_path)
        record = store.read(job.arguments[0].planned[0].cell.id)
        store.write(type(record)(record.cell, record.training, wanted=record.wanted, request=record.request))
        return ProcessFailed("node lost")

    place = Place(Store(tmp_path), tmp_path)
    outcome = run(Nearby(tmp_path, lose_after_training), seeds=[0])
    (failed,) = outcome.failed
    assert (failed.status, [*failed.failures]) == ("trained", ["accuracy"])


def test_a_full_disk_ends_the_run(run, tmp_path):
    with pytest.raises(StorageFailed):
        run(Nearby(tmp_path, lambda job: StorageFailed("no space")))


def test_a_detached_run_says_how_many_jobs_go_on(run, tmp_path):
    class Detaching(Nearby):
        def run(self, jobs, notify, *, alone=False):
            raise Detached(len([*jobs]))
            yield

    outcome = run(Detaching(tmp_path))
    assert (outcome.detached, len(outcome.left)) == (2, 2)


def test_the_executor_chooses_the_kind_of_run(tmp_path):
    class Sending:
        records_results = False

    assert choose_runner(Sending()) is Runner
    assert choose_runner(Nearby(tmp_path)) is SharingRunner
