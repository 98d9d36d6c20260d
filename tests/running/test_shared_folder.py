"""Several runs that write into one folder at the same time."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress

import pytest

from capsbench.errors import TrainingFailed
from capsbench.planning.matrix import plan_cells
from capsbench.records.record import TRAINING
from capsbench.records.sharing.leases import Leases
from capsbench.records.store import Store
from capsbench.running.cell_job import run_cell
from capsbench.running.events import CellEnded, JobReported, Measuring, Remarked, Trained
from capsbench.running.runner import Runner

QUICK = dict(routing="dynamic", train_size=40, epochs=1, baseline="none", seeds=[0, 1, 2])


class Watching:
    """A listener that remembers the cells whose training it was told of, and calls a function at each event."""

    def __init__(self, on_event=lambda event: None):
        self.trained, self.ended, self.remarks, self.on_event = [], [], [], on_event

    def notify(self, event):
        match event:
            case JobReported(cell, Trained()):
                self.trained.append(cell.id)
            case CellEnded(record):
                self.ended.append(record.cell.id)
            case Remarked(remark):
                self.remarks.append(remark)
        self.on_event(event)


@pytest.fixture
def planned():
    return plan_cells({**QUICK, "measure": "accuracy"})


@pytest.fixture
def run(tmp_path):
    return lambda planned, listener, **how: Runner(planned, Store(tmp_path), tmp_path, listener, **how).run()


@pytest.mark.usefixtures("in_one_process")
@pytest.mark.parametrize("fresh", [False, True])
def test_a_run_that_begins_during_another_trains_none_of_its_cells_again(run, planned, fresh, tmp_path):
    other = Watching()
    outcomes = []

    def start_other(event):
        if isinstance(event, CellEnded) and not outcomes:
            outcomes.append(run(planned[1:], other, fresh=fresh))

    first = Watching(start_other)
    outcome = run(planned, first, fresh=fresh)
    assert Counter(first.trained + other.trained) == Counter(job.cell.id for job in planned)
    assert len(other.trained) == 2
    assert sorted(outcome.finished) == sorted(job.cell.id for job in planned)
    assert sorted(first.ended) == sorted(job.cell.id for job in planned)
    assert {record.status for record in Store(tmp_path).records()[0]} == {"finished"}


@pytest.mark.usefixtures("in_one_process")
def test_a_cell_that_failed_in_the_other_run_has_failed_in_this_one(run, planned, monkeypatch):
    def fail_one(planned, *arguments):
        tried.append(planned.cell.seed)
        if planned.cell.seed == 2:
            raise ValueError("bad")
        return run_cell(planned, *arguments)

    tried, outcomes = [], []
    monkeypatch.setattr("capsbench.running.runner.run_cell", fail_one)

    def start_other(event):
        if isinstance(event, CellEnded) and not outcomes:
            outcomes.append(run(planned[1:], Watching()))

    outcomes.append(run(planned, Watching(start_other)))
    assert sorted(tried) == [0, 1, 2]
    for outcome in outcomes:
        (failed,) = outcome.failed
        assert (failed.cell.seed, [*failed.failures]) == (2, [TRAINING])


@pytest.mark.usefixtures("in_one_process")
def test_a_run_waits_for_cells_that_another_has(run, planned, tmp_path, monkeypatch):
    other = Leases(tmp_path)
    other.take(planned[1].cell.id)

    def give_back(event):
        if isinstance(event, Remarked):
            other.release(planned[1].cell.id)

    listener = Watching(give_back)
    outcome = run(planned, listener)
    assert len(outcome.finished) == 3
    assert listener.trained[-1] == planned[1].cell.id
    assert len(listener.remarks) == 1


def remove_leases(folder):
    for path in (folder / "leases").iterdir():
        path.unlink()


@pytest.mark.usefixtures("in_one_process")
@pytest.mark.parametrize("event", [Measuring, Trained])
def test_a_lease_that_nobody_has_is_taken_again_and_nothing_is_lost(run, planned, tmp_path, event):
    def lose_lease(reported):
        if isinstance(reported, JobReported) and isinstance(reported.event, event) and reported.cell.seed == 1:
            remove_leases(tmp_path)

    listener = Watching(lose_lease)
    outcome = run(planned, listener)
    assert {(*record.measures,) for record in Store(tmp_path).records()[0]} == {("accuracy",)}
    assert (len(outcome.finished), outcome.left, len(listener.trained)) == (3, [], 3)


@pytest.mark.usefixtures("in_one_process")
@pytest.mark.parametrize("others_finish", [True, False])
def test_a_cell_that_another_run_took_over_is_waited_for(run, planned, tmp_path, monkeypatch, others_finish):
    other = Leases(tmp_path)

    def run_suspended(planned, *arguments):
        tried.append(planned.cell.seed)
        if tried == [0, 1] or tried == [0]:
            remove_leases(tmp_path)  # it did not beat for minutes
            other.take(planned.cell.id)
        return run_cell(planned, *arguments)

    def give_back(event):
        if isinstance(event, Remarked) and "taken it over" in event.remark:
            other.release(planned[0].cell.id)
            if others_finish:
                run(planned, Watching())

    tried = []
    monkeypatch.setattr("capsbench.running.runner.run_cell", run_suspended)
    listener = Watching(give_back)
    outcome = run(planned[:1], listener)
    record = Store(tmp_path).read(planned[0].cell.id)
    assert ([*record.measures], len(outcome.finished), listener.ended) == (["accuracy"], 1, [record.cell.id])
    assert listener.trained == ([] if others_finish else [record.cell.id])


COMMAND = [
    *(sys.executable, "-c", "from capsbench.cli.main import main; main()"),
    *("run", "--routing", "dynamic", "--train-size", "40", "--epochs", "1", "--baseline", "none"),
    *("--seeds", "0,1,2,3,4,5", "--measure", "accuracy", "--out", "out"),
]


def is_started(tmp_path):
    return len([*(tmp_path / "out" / "records").glob("*.json")]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_two_commands_finish_one_matrix_together(tmp_path, killed):
    quiet = dict(cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    commands = [subprocess.Popen(COMMAND, start_new_session=True, **quiet) for _ in range(2)]
    if killed:
        while not is_started(tmp_path):
            time.sleep(0.05)
        os.killpg(commands[0].pid, signal.SIGKILL)
    outputs = [command.communicate()[0] for command in commands]
    assert [command.returncode for command in commands] == [-signal.SIGKILL if killed else 0, 0], outputs
    records, faults = Store(tmp_path / "out").records()
    assert (len(records), faults) == (6, [])
    assert {record.status for record in records} == {"finished"}
    with suppress(FileNotFoundError):
        assert [*(tmp_path / "out" / "leases").iterdir()] == []
    if not killed:
        trained = sum(output.count("trained in") for output in outputs)
        assert trained == 6, outputs


@pytest.mark.slow
def test_sigterm_ends_a_command_in_order_with_143(tmp_path):
    words = ["3000" if before == "--epochs" else word for before, word in zip(["", *COMMAND], COMMAND, strict=False)]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    leases = tmp_path / "out" / "leases"
    # Not before it trains: during an import a signal ends the process at once.
    while not any('"training"' in lease.read_text(encoding="utf-8") for lease in leases.glob("*.json")):
        time.sleep(0.05)
    process.terminate()
    output, _ = process.communicate()
    assert process.returncode == 143, output
    assert "run the same command again: capsbench run --routing dynamic" in output
    assert [*leases.iterdir()] == []


def test_each_job_has_the_time_limit_of_a_cell(run, planned):
    class Noting:
        def run(self, jobs, notify, *, alone=False):
            for job in jobs:
                if job is not None:
                    limits.append(job.time_limit)
                    yield job.name, TrainingFailed("not run")

        def close(self):
            closed.append(True)

    limits, closed = [], []
    run(planned, Watching(), executor=Noting(), cell_timeout=90.0)
    assert (limits, closed) == ([90.0] * 3, [True])
