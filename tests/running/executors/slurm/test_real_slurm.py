"""Runs on a real Slurm of two nodes: what is recorded, and what becomes of tasks that end before their time."""

import os
import signal

import pytest

from capsbench.records.store import Store
from capsbench.running.executors.slurm.executor import _Batch
from tests.running.executors.slurm.cluster import wait_until

REQUEST = [
    *("run", "--routing", "pausing:Pausing", "--baseline", "none", "--train-size", "40", "--batch", "20"),
    *("--epochs", "10"),
]
ON_SLURM = ["--executor", "slurm", "--out", "slurm"]

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

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_one_process")]


@pytest.fixture
def call(capsbench, pausing, slurm):
    """Calls a command in the folder of the pausing routing."""
    return lambda *words, measure="accuracy": capsbench(*words, "--measure", measure, cwd=pausing.folder)


def read_records(folder):
    records, faults = Store(folder).records()
    assert faults == []
    return {record.cell.seed: record for record in records}


def list_numbers(record):
    """All numbers of a record but times."""
    history = [{name: value for name, value in entry.items() if name != "seconds"} for entry in record.training.history]
    rows = {spec: taken.rows for spec, taken in record.measures.items()}
    trained = [row for row in record.training.rows if row.unit != "s"]
    return history, rows, trained, record.training.weights.sha256


def assert_equal_numbers(pausing, call, *seeds):
    """Compares the records with those of a run on this machine without interruption."""
    pausing.go()
    assert call(*REQUEST, "--seeds", ",".join(map(str, seeds)), "--out", "here").returncode == 0
    here, there = read_records(pausing.folder / "here"), read_records(pausing.folder / "slurm")
    assert {*here} == {*there} == {*seeds}
    for seed in seeds:
        assert list_numbers(here[seed]) == list_numbers(there[seed])


def test_an_array_runs_on_both_nodes_with_the_numbers_of_this_machine(call, pausing, meanwhile, slurm):
    meanwhile(lambda: pausing.wait(2))  # so that they run at the same time
    called = call(*REQUEST, "--seeds", "0,1", *ON_SLURM)
    assert (called.returncode, "2 of 2 cells on record" in called.stdout) == (0, True)
    assert "2 array tasks submitted" in called.stderr
    assert "sacct" not in called.stderr + called.stdout
    records = read_records(pausing.folder / "slurm")
    assert {record.training.provenance["node"] for record in records.values()} == {"n1", "n2"}
    assert_equal_numbers(pausing, call, 0, 1)
    assert [*(pausing.folder / "slurm" / "slurm" / "submissions").iterdir()] == []
    assert [*(pausing.folder / "slurm" / "slurm" / "results").iterdir()] == []


def test_packed_cells_detach_and_the_same_command_collects_them(call, pausing, slurm):
    (pausing.folder / "phases.py").write_text(MEASURES)
    pausing.go()
    measure = "accuracy,phases:Alone,phases:Between"
    request = [*REQUEST, *ON_SLURM, "--seeds", "0,1", "--cells-per-job", "2", "--detach"]
    detached = call(*request, measure=measure)
    assert (detached.returncode, "2 jobs are in Slurm's queue" in detached.stdout) == (0, True)
    assert len(slurm.list_queued()) == 1
    again = call(*request, measure=measure)
    assert (again.returncode, "2 jobs submitted to Slurm by an earlier command" in again.stderr) == (0, True)
    records = read_records(pausing.folder / "slurm")
    assert {*records} == {0, 1}
    assert {len(record.training.segments) for record in records.values()} == {0}
    for record in records.values():
        alone = record.measures["phases:Alone"]
        assert alone.rows[0].value == record.cell.seed
        assert "shared_machine" not in alone.provenance
    between = [*(pausing.folder / "slurm" / "between" / "phases.Between").glob("*/*.json")]
    assert len(between) == 4


def test_a_killed_and_a_cancelled_task_go_on_from_the_checkpoint(call, pausing, meanwhile, slurm):
    def lose_tasks():
        ((task, job),) = pausing.wait().items()
        os.kill(int(task.partition("-")[2]), signal.SIGKILL)
        pausing.wait(2)
        (queued,) = slurm.list_queued()
        assert queued != job
        slurm.call("scancel", queued)
        pausing.wait(3)

    meanwhile(lose_tasks)
    called = call(*REQUEST, "--seeds", "0", *ON_SLURM, "--checkpoint-seconds", "0")
    assert (called.returncode, called.stderr.count("of Slurm was lost (")) == (0, 2)
    (record,) = read_records(pausing.folder / "slurm").values()
    assert len(record.training.segments) == 3
    assert min(segment.epochs for segment in record.training.segments) >= 1
    assert_equal_numbers(pausing, call, 0)


def test_before_its_time_limit_a_task_writes_its_checkpoint_and_is_queued_again(call, pausing, meanwhile, slurm):
    def reach_limit():
        (job,) = pausing.wait().values()
        slurm.call("scancel", "--signal", "USR2", job)
        wait_until(lambda: slurm.list_queued() == {job: "PD"}, "the task is not queued again")
        assert len([*(pausing.folder / "slurm" / "checkpoints").iterdir()]) == 1

    meanwhile(reach_limit)
    called = call(*REQUEST, "--seeds", "0", *ON_SLURM)
    assert (called.returncode, "lost" in called.stderr) == (0, False)
    (record,) = read_records(pausing.folder / "slurm").values()
    assert len(record.training.segments) == 2
    assert_equal_numbers(pausing, call, 0)


def test_ctrl_c_cancels_what_was_submitted(call, pausing, meanwhile, slurm):
    def interrupt():
        pausing.wait()
        os.kill(os.getpid(), signal.SIGINT)

    meanwhile(interrupt)
    called = call(*REQUEST, "--seeds", "0,1,2", *ON_SLURM)
    assert (called.returncode, "3 array tasks of Slurm cancelled" in called.stderr) == (130, True)
    wait_until(lambda: slurm.list_queued() == {}, "tasks are not cancelled")
    assert [*(pausing.folder / "slurm" / "slurm" / "submissions").iterdir()] == []


@pytest.mark.parametrize(
    ("option", "reason"),
    [("partition=short", "PartitionTimeLimit"), ('additional_parameters={"hold": true}', "JobHeldUser")],
)
def test_why_tasks_may_never_run_is_said(option, reason, call, pausing, slurm, monkeypatch):
    say = _Batch._say

    def say_and_interrupt(batch, line):
        say(batch, line)
        if "waiting" in line:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_Batch, "_say", say_and_interrupt)
    called = call(*REQUEST, "--seeds", "0", *ON_SLURM, "--slurm", option)
    assert called.returncode == 130
    assert f"1 array task waiting in Slurm's queue: {reason}" in called.stderr
    assert "1 array task of Slurm cancelled" in called.stderr


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("partition=none", "invalid partition specified: none"),
        ("constraint=fast", "Invalid feature specification"),
        ("mem=4G", "Memory specification can not be satisfied"),
    ],
)
def test_an_option_that_slurm_refuses_is_one_line(option, problem, call, pausing):
    called = call(*REQUEST, "--seeds", "0", *ON_SLURM, "--slurm", option)
    assert called.returncode == 2
    assert "Slurm takes no job" in called.stderr
    assert problem in called.stderr
    assert len(called.stderr.splitlines()) == 1
