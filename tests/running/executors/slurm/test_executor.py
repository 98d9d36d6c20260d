"""What becomes of jobs that are submitted: their results, their losses, and what a later command finds of them."""

import signal

import pytest

from capsbench.errors import Kind, ProcessFailed, StorageFailed, UsageError
from capsbench.records.store import Store
from capsbench.running.executors.base import Detached, FailureOnRecord, Job, Place, Settings
from capsbench.running.executors.slurm import executor as module
from capsbench.running.executors.slurm.executor import MOST_LOSSES, SlurmExecutor

LOCAL = {"cluster": "local"}


class Queue:
    """Runs tasks when a test looks for them, unless they wait or are lost."""

    def __init__(self, folder, waiting=(), lost=0, reason=""):
        self.folder, self.waiting, self.lost, self.reason = folder, {*waiting}, lost, reason
        self.tasks, self.cancelled, self.alone = {}, [], []
        self.refusal = None

    def submit(self, tasks, *, alone=False):
        if self.refusal is not None:
            raise self.refusal
        first = len(self.alone)
        self.alone.append(alone)
        identities = [f"{first}_{number}" for number in range(len(tasks))]
        self.tasks |= dict(zip(identities, tasks, strict=True))
        return identities

    def run_tasks(self):
        for identity, task in [*self.tasks.items()]:
            if not self.waiting & {job.name for job in task.jobs}:
                del self.tasks[identity]
                self.lost -= 1
                if self.lost < 0:
                    task._run_jobs()

    def find_queued(self, tasks):
        queued = {task: self.reason for task in tasks if task in self.tasks}
        self.run_tasks()
        return queued

    def find_log(self, task):
        return self.folder / f"{task}_0_log.err"

    def explain_loss(self, task):
        return "NODE_FAIL"

    def cancel(self, tasks):
        self.cancelled += tasks
        for task in tasks:
            self.tasks.pop(task, None)


def work(name, place, send):
    """Writes its name, or fails as it says."""
    with (place.store.folder / "calls").open("a") as calls:
        calls.write(f"{name} ")
    if name == "failing":
        raise FailureOnRecord("the loss became nan")


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_QUERIES", 0.0)

    def make(queue=None, **settings):
        made = SlurmExecutor(Place(Store(tmp_path), tmp_path), Settings(slurm=LOCAL, **settings))
        made.queue = Queue(tmp_path) if queue is None else queue
        return made

    return make


@pytest.fixture
def run(tmp_path):
    """Runs jobs and gives their results, and the lines for the user."""

    def run(executor, *names, alone=False, device="cpu"):
        lines = []
        jobs = [Job(name, work, (name,), device=device) for name in names]
        results = dict(executor.run(jobs, lambda name, remark: lines.append(remark.remark), alone=alone))
        assert [*(tmp_path / "slurm" / "results").iterdir()] == []
        assert [*(tmp_path / "slurm" / "submissions").iterdir()] == []
        return results, lines

    return run


@pytest.fixture
def calls(tmp_path):
    return lambda: (tmp_path / "calls").read_text().split() if (tmp_path / "calls").exists() else []


def test_each_job_is_a_task_and_its_result_is_passed_on(make, run, calls):
    results, lines = run(make(), "one", "failing", "two")
    assert (results["one"], results["two"], str(results["failing"])) == (None, None, "the loss became nan")
    assert sorted(calls()) == ["failing", "one", "two"]
    assert lines == ["3 array tasks submitted to Slurm, job 0"]


def test_jobs_are_packed(make, run):
    _, lines = run(make(cells_per_job=2), "one", "two", "three")
    assert lines == ["2 array tasks submitted to Slurm, job 0"]


def test_jobs_that_need_a_machine_are_submitted_one_after_the_other(make, run, tmp_path):
    queue = Queue(tmp_path)
    _, lines = run(make(queue), "one", "two", alone=True)
    assert queue.alone == [True, True]
    assert lines == [f"1 array task submitted to Slurm, job {number}" for number in (0, 1)]


def test_a_lost_task_is_submitted_again(make, run, calls, tmp_path):
    (tmp_path / "0_0_0_log.err").write_text("out of memory")
    results, lines = run(make(Queue(tmp_path, lost=MOST_LOSSES)), "one")
    assert (results, calls()) == ({"one": None}, ["one"])
    assert [line for line in lines if "lost" in line] == [
        f"array task 0_0 of Slurm was lost (NODE_FAIL); see {tmp_path / '0_0_0_log.err'}",
        "array task 1_0 of Slurm was lost (NODE_FAIL)",
    ]


def test_a_task_that_is_lost_too_often_has_failed(make, run, calls, tmp_path):
    results, lines = run(make(Queue(tmp_path, lost=MOST_LOSSES + 1)), "one")
    assert type(results["one"]) is ProcessFailed
    assert (
        str(results["one"]) == f"array task {MOST_LOSSES}_0 of Slurm was lost (NODE_FAIL), and {MOST_LOSSES} before it"
    )
    assert (calls(), sum("submitted" in line for line in lines)) == ([], MOST_LOSSES + 1)


def test_a_lost_task_that_slurm_does_not_take_again_has_failed_and_others_go_on(make, tmp_path):
    queue = Queue(tmp_path, lost=1)
    queue.waiting.add("two")
    jobs = [Job(name, work, (name,)) for name in ("one", "two")]

    def refuse(name, remark):
        if "lost" in remark.remark:
            queue.refusal = UsageError(Kind.INVALID, "Slurm takes no job: no controller", flag="slurm")
            queue.waiting.clear()

    results = dict(make(queue).run(jobs, refuse))
    assert "lost, and slurm: Slurm takes no job: no controller" in str(results["one"])
    assert results["two"] is None
    assert queue.cancelled == []


def test_a_reason_why_tasks_may_never_run_is_said_once(make, tmp_path):
    queue = Queue(tmp_path, waiting=["one"], reason="PartitionTimeLimit")
    lines, queries = [], []
    find_queued = queue.find_queued

    def query(tasks):
        queries.append(tasks)
        if len(queries) > 3:
            queue.waiting.clear()
        return find_queued(tasks)

    queue.find_queued = query
    results = dict(make(queue).run([Job("one", work, ("one",))], lambda name, remark: lines.append(remark.remark)))
    assert results == {"one": None}
    assert lines[1:] == ["1 array task waiting in Slurm's queue: PartitionTimeLimit"]


def test_a_later_command_waits_for_the_same_tasks(make, run, calls, tmp_path):
    queue = Queue(tmp_path, waiting=["one", "two"])
    with pytest.raises(Detached) as caught:
        run(make(queue, detach=True), "one", "two")
    assert (caught.value.jobs, queue.cancelled, len(queue.tasks)) == (2, [], 2)
    queue.waiting.clear()
    results, lines = run(make(queue, detach=True), "one", "two")
    assert (results, calls(), len(queue.alone)) == ({"one": None, "two": None}, ["one", "two"], 1)
    assert lines == ["2 jobs submitted to Slurm by an earlier command"]


def test_a_later_command_passes_on_what_failed_and_submits_what_was_lost(make, run, calls, tmp_path):
    queue = Queue(tmp_path, waiting=["failing", "lost"])
    with pytest.raises(Detached):
        run(make(queue, detach=True), "failing", "lost")
    queue.waiting = {"lost"}
    queue.run_tasks()
    queue.waiting.clear()
    queue.tasks.clear()
    results, lines = run(make(queue), "failing", "lost")
    assert (str(results["failing"]), results["lost"]) == ("the loss became nan", None)
    assert calls() == ["failing", "lost"]
    assert lines == ["1 job submitted to Slurm by an earlier command", "1 array task submitted to Slurm, job 1"]


@pytest.mark.parametrize("detach", [False, True])
def test_an_interrupted_command_cancels_its_tasks_unless_it_was_to_leave_them(detach, make, tmp_path):
    queue, lines = Queue(tmp_path, waiting=["two"]), []
    executor = make(queue, detach=detach)
    executor.may_detach = False
    results = executor.run(
        [Job(name, work, (name,)) for name in ("one", "two")], lambda name, remark: lines.append(remark.remark)
    )
    assert next(results) == ("one", None)
    results.close()
    assert queue.cancelled == ([] if detach else ["0_1"])
    assert lines[-1] == f"1 array task of Slurm {'not ' if detach else ''}cancelled"
    assert len([*(tmp_path / "slurm" / "submissions").iterdir()]) == detach


def test_ctrl_c_during_a_submission_cancels_what_was_submitted(make, tmp_path):
    queue = Queue(tmp_path, waiting=["one"])
    submit = queue.submit

    def press(tasks, *, alone):
        identities = submit(tasks, alone=alone)
        signal.raise_signal(signal.SIGINT)
        return identities

    queue.submit = press
    with pytest.raises(KeyboardInterrupt):
        dict(make(queue).run([Job("one", work, ("one",))], lambda name, remark: None))
    assert queue.cancelled == ["0_0"]


def test_tasks_that_cannot_be_noted_are_cancelled(make, tmp_path):
    queue = Queue(tmp_path, waiting=["one"])
    executor = make(queue)
    (tmp_path / "slurm").mkdir(exist_ok=True)
    (tmp_path / "slurm" / "submissions").write_text("a file")
    with pytest.raises(StorageFailed):
        dict(executor.run([Job("one", work, ("one",))], lambda name, remark: None))
    assert queue.cancelled == ["0_0"]


def test_slurm_chooses_the_gpu(make, run):
    with pytest.raises(UsageError) as caught:
        run(make(), "one", device="cuda:1")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.CONFLICT, "device", "cuda:1")


@pytest.mark.slow
def test_submitit_runs_jobs_on_this_machine(make, run, calls):
    executor = make(cells_per_job=3)
    executor.queue = SlurmExecutor(executor.place, executor.settings).queue
    results, _ = run(executor, "one", "failing", "two")
    assert (results["one"], results["two"], str(results["failing"])) == (None, None, "the loss became nan")
    assert calls() == ["one", "failing", "two"]
    for task in executor.queue.submitted.values():
        task.wait()
