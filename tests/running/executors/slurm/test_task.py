"""The work of an array task: results as files, and what happens at its time limit and when it is cancelled."""

import os
import signal
from contextlib import contextmanager

import pytest
from submitit.core.utils import UncompletedJobError

from capsbench.errors import ProcessFailed, StorageFailed, UsageError
from capsbench.records.store import Store
from capsbench.running.executors.base import FailureOnRecord, Job, Place
from capsbench.running.executors.slurm.task import BEFORE_LIMIT, Task, is_exclusive, read_result, run_job

FAILURES = {
    "failed": FailureOnRecord("the loss became nan"),
    "full": StorageFailed("no space"),
    "missing": UsageError("missing", "no such file"),
    "fault": KeyError("x"),
    "leaves": SystemExit(3),
}


def act(what, place, send):
    """Writes its name, and does what it says."""
    with (place.store.folder / "calls").open("a") as calls:
        calls.write(f"{what} ")
    if what in FAILURES:
        raise FAILURES[what]
    if what in ("limit", "cancel"):
        os.kill(os.getpid(), BEFORE_LIMIT if what == "limit" else signal.SIGTERM)


@pytest.fixture
def make_task(tmp_path):
    def make(*names):
        jobs = tuple(Job(name, act, (name,)) for name in names)
        return Task("01234567", jobs, Place(Store(tmp_path), tmp_path), tmp_path / "results")

    return make


@pytest.fixture
def calls(tmp_path):
    return lambda: (tmp_path / "calls").read_text().split()


@contextmanager
def restored():
    before = {number: signal.getsignal(number) for number in (BEFORE_LIMIT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def keep_signals():
    with restored():
        yield


def test_each_job_writes_its_result(make_task, calls):
    task = make_task("one", "failed", "two")
    task()
    assert calls() == ["one", "failed", "two"]
    assert [read_result(task.find_result(name)) for name in ("one", "two")] == [None, None]
    failure = read_result(task.find_result("failed"))
    assert (type(failure), str(failure)) == (FailureOnRecord, "the loss became nan")


def test_a_job_with_a_result_is_not_run_again(make_task, calls):
    make_task("one", "failed")()
    make_task("one", "failed", "two")()
    assert calls() == ["one", "failed", "two"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("full", StorageFailed), ("missing", ProcessFailed), ("fault", ProcessFailed), ("leaves", ProcessFailed)],
)
def test_a_failure_is_read_as_it_was_written(name, kind, make_task):
    task = make_task(name)
    task()
    failure = read_result(task.find_result(name))
    assert type(failure) is kind
    assert str(failure) == str(run_job(task.jobs[0], task.place))


def test_a_damaged_result_is_a_failure(tmp_path):
    (tmp_path / "result.json").write_text("{")
    assert isinstance(read_result(tmp_path / "result.json"), ProcessFailed)


def test_before_its_time_limit_a_task_is_queued_again_with_what_is_left(make_task, calls):
    def queue_again(number, frame):
        work = task.checkpoint()
        assert work.function is task
        raise SystemExit(144)

    task = make_task("one", "limit", "two")
    signal.signal(BEFORE_LIMIT, queue_again)
    with pytest.raises(SystemExit) as caught:
        task()
    assert (caught.value.code, calls()) == (144, ["one", "limit"])
    assert [name for name in ("one", "limit", "two") if task.find_result(name).exists()] == ["one"]


def test_what_reaches_the_time_limit_too_often_has_failed(make_task):
    def give_up(number, frame):
        raise UncompletedJobError("timed-out too many times")

    task = make_task("one", "limit", "two")
    signal.signal(BEFORE_LIMIT, give_up)
    with pytest.raises(SystemExit):
        task()
    failures = [read_result(task.find_result(name)) for name in ("one", "limit", "two")]
    assert [type(failure) for failure in failures] == [type(None), ProcessFailed, ProcessFailed]


def test_a_cancelled_task_ends_without_a_result(make_task, calls):
    task = make_task("one", "cancel", "two")
    with pytest.raises(SystemExit) as caught:
        task()
    assert (caught.value.code, calls()) == (143, ["one", "cancel"])
    assert not task.find_result("cancel").exists()


@pytest.mark.parametrize(("shown", "exclusive"), [("NO", True), ("OK", False), ("USER", False)])
def test_slurm_says_if_a_node_is_shared(shown, exclusive, tmp_path, monkeypatch):
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho JobId=$3 OverSubscribe={shown} Contiguous=0\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert not is_exclusive()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert is_exclusive() is exclusive
