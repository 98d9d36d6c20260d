"""A cell whose worker is lost goes on with what is on record of it by then, and fails after too many losses."""

import pytest

from capsbench.planning.matrix import plan_cells
from capsbench.records.store import Store
from capsbench.running.events import JobReported, Measured, Remarked, Trained
from capsbench.running.executors.base import MOST_LOSSES, Place, WorkerLost
from capsbench.running.runner import Runner

REQUEST = dict(routing="dynamic", train_size=20, epochs=1, baseline="none", seeds=0, measure="accuracy,cost")

pytestmark = pytest.mark.usefixtures("in_one_process")


class Losing:
    """Runs each job in this process; loses its worker after an event of a type, some times."""

    records_results = False

    def __init__(self, folder, losses, last):
        self.place, self.losses, self.last = Place(Store(folder), folder), losses, last
        self.asked = []

    def run(self, jobs, notify, *, alone=False):
        for job in jobs:
            if job is None:
                continue
            _, measures, record, _ = job.arguments
            self.asked.append((record is not None, list(measures)))
            yield job.name, self.run_job(job, notify)

    def run_job(self, job, notify):
        def send(event):
            notify(job.name, event)
            if self.losses and type(event) is self.last:
                self.losses -= 1
                raise BrokenPipeError

        try:
            job.function(*job.arguments, self.place, send)
        except BrokenPipeError:
            return WorkerLost("node 1 is gone")

    def close(self):
        pass


class Noting:
    def __init__(self):
        self.events = []

    def notify(self, event):
        self.events.append(event)

    def find(self, kind):
        sent = [event.event if isinstance(event, JobReported) else event for event in self.events]
        return [event for event in sent if isinstance(event, kind)]


def run(folder, losses, last):
    executor, listener = Losing(folder, losses, last), Noting()
    (planned,) = plan_cells(REQUEST)
    outcome = Runner([planned], Store(folder), folder, listener, executor=executor).run()
    return outcome, executor.asked, listener


def test_a_trained_network_is_only_measured(tmp_path):
    outcome, asked, listener = run(tmp_path, 1, Trained)
    assert asked == [(False, ["accuracy", "cost"]), (True, ["accuracy", "cost"])]
    assert (len(outcome.finished), outcome.failed) == (1, [])
    assert (len(listener.find(Trained)), len(listener.find(Measured))) == (1, 2)
    (line,) = [event.remark for event in listener.find(Remarked)]
    assert "node 1 is gone" in line


def test_a_measure_on_record_is_not_taken_again(tmp_path):
    outcome, asked, listener = run(tmp_path, 1, Measured)
    assert asked == [(False, ["accuracy", "cost"]), (True, ["cost"])]
    assert (len(outcome.finished), [event.spec for event in listener.find(Measured)]) == (1, ["accuracy", "cost"])


def test_a_cell_that_had_nothing_left_to_do_is_finished(tmp_path):
    outcome, asked, _ = run(tmp_path, 2, Measured)
    assert [measures for _, measures in asked] == [["accuracy", "cost"], ["cost"]]
    assert (len(outcome.finished), outcome.failed, outcome.left) == (1, [], [])


def test_too_many_losses_fail_the_cell_and_free_it(tmp_path):
    from capsbench.training.loop import EpochEnded

    outcome, asked, listener = run(tmp_path, MOST_LOSSES + 1, EpochEnded)
    assert len(asked) == MOST_LOSSES + 1
    (failed,) = outcome.failed
    assert "node 1 is gone" in failed.reason
    assert len(listener.find(Remarked)) == MOST_LOSSES
    assert [*(tmp_path / "leases").iterdir()] == []
