"""Jobs on this machine: on which GPU each runs, and which have the machine for themselves."""

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.planning.matrix import plan_cells
from capsbench.records.store import Store
from capsbench.running.executors.base import TO_USER, Job, Place, Settings
from capsbench.running.executors.local import VISIBLE, LocalExecutor, choose_gpu, default_workers, list_gpus
from capsbench.running.executors.machine import claim_machine, explain_wait, share_machine


@pytest.fixture
def place(tmp_path):
    return Place(Store(tmp_path), tmp_path)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setenv(VISIBLE, "4,7")


def look_around(place, send):
    return os.environ.get(VISIBLE, ""), place.shared, place.store.folder


def sleep_for(seconds, place, send):
    time.sleep(seconds)


def wait_for(path, count, place, send):
    """Ends once ``count`` jobs run at the same time, and returns the GPU of this one."""
    folder = Path(path)
    (folder / str(os.getpid())).touch()
    while len([*folder.iterdir()]) < count:
        pass
    return os.environ[VISIBLE]


def run_all(executor, jobs, **how):
    return dict(executor.run(jobs, lambda name, event: None, **how))


def test_a_job_is_told_its_place(place, tmp_path):
    assert run_all(LocalExecutor(place, Settings()), [Job("one", look_around, ())])["one"][1:] == (True, tmp_path)


def test_jobs_that_run_when_the_time_is_over_are_stopped(place):
    executor = LocalExecutor(place, Settings())
    ends = time.monotonic() + 1
    executor.seconds_left = lambda: ends - time.monotonic()
    assert run_all(executor, [Job("long", sleep_for, (60,))]) == {}
    executor.seconds_left = lambda: None
    assert [*run_all(executor, [Job("one", look_around, ())])] == ["one"]


def test_each_gpu_has_as_many_jobs_as_another(place, two_gpus, tmp_path):
    (tmp_path / "started").mkdir()
    jobs = [Job(str(i), wait_for, (str(tmp_path / "started"), 4), device="cuda") for i in range(4)]
    gpus = run_all(LocalExecutor(place, Settings(workers=4)), jobs)
    assert sorted(gpus.values()) == ["4", "4", "7", "7"]


def test_a_job_runs_on_the_gpu_that_it_names(place, two_gpus):
    jobs = [Job(str(i), look_around, (), device="cuda:1") for i in range(2)]
    seen = run_all(LocalExecutor(place, Settings(workers=2)), jobs)
    assert [gpu for gpu, *_ in seen.values()] == ["7", "7"]


def test_a_gpu_that_does_not_exist_is_refused(two_gpus):
    with pytest.raises(UsageError) as caught:
        choose_gpu("cuda:2")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "device", "cuda:2")


def test_the_gpus_are_those_that_torch_sees(monkeypatch):
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert list_gpus() == ["0", "1", "2"]
    assert choose_gpu("cuda", used=["0", "0", "1"]) == {VISIBLE: "2"}
    assert choose_gpu("cpu") == {}


@pytest.mark.parametrize(
    ("device", "per_gpu", "workers"), [("cuda", 1, 2), ("cuda", 3, 6), ("cuda:1", 1, 1), ("cuda:1", 2, 2)]
)
def test_the_gpus_that_a_run_may_use_are_filled(device, per_gpu, workers, two_gpus, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    planned = plan_cells({"routing": "em", "iters": 1, "seeds": [0, 1], "baseline": "none", "device": device})
    assert default_workers(planned, per_gpu) == workers


@pytest.mark.parametrize("alone", [True, False])
def test_a_job_that_waits_for_a_measure_of_time_tells_whose_it_is(place, monkeypatch, tmp_path, alone):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert explain_wait(alone) is None
    with ExitStack() as measure_of_time:
        measure_of_time.enter_context(claim_machine())
        told = []

        def end_measure(name, event):
            told.append((name, event))
            measure_of_time.close()

        (_, (_, is_shared, _)), *others = LocalExecutor(place, Settings()).run(
            [Job("one", look_around, ())], end_measure, alone=alone
        )
    ((name, remark),) = told
    assert (others, is_shared) == ([], not alone)
    assert (name, str(os.getpid()) in remark.remark) == (TO_USER, True)
    assert explain_wait(alone) is None


def test_a_measure_of_time_has_the_machine_for_itself_unless_another_run_uses_it(place):
    executor, jobs = LocalExecutor(place, Settings(workers=2)), [Job("one", look_around, ())]
    assert run_all(executor, jobs, alone=True)["one"][1] is False
    with share_machine():
        assert run_all(executor, jobs, alone=True)["one"][1] is True
    assert run_all(executor, jobs, alone=True)["one"][1] is False
