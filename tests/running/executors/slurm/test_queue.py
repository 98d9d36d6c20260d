"""What is asked of Slurm: options as a user types them, and what is refused before anything is submitted."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.records.store import Store
from capsbench.running.executors.base import Job, Place
from capsbench.running.executors.slurm.queue import DEFAULT_MINUTES, LocalQueue, SlurmQueue, make_queue, parse_minutes
from capsbench.running.executors.slurm.task import Task

LOCAL = {"cluster": "local"}


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("90:00", 90),
        ("90:01", 91),
        ("4:00:00", 240),
        ("1:30:00", 90),
        ("2-12", 3600),
        ("1-0:30", 1470),
        ("1-02:03:04", 1564),
    ],
)
def test_a_time_limit_is_spelled_as_in_slurm(text, minutes):
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "0", "2h", "-5", "1:2:3:4", "unlimited", "0:00"])
def test_another_time_limit_is_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_minutes(text)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "slurm", f"time={text}")


def test_options_are_json_or_text(tmp_path):
    options = {**LOCAL, "time": "30", "mem_gb": "4", "partition": "long", "setup": '["module load cuda"]'}
    assert make_queue(tmp_path, options).parameters == {
        "name": "capsbench",
        "timeout_min": 30,
        "mem_gb": 4,
        "partition": "long",
        "setup": ["module load cuda"],
        "additional_parameters": {"requeue": True},
    }
    assert make_queue(tmp_path, LOCAL).parameters["timeout_min"] == DEFAULT_MINUTES


def test_what_submitit_does_not_know_is_passed_on(tmp_path):
    options = {**LOCAL, "mem": "4G", "additional_parameters": '{"reservation": "tuesday"}'}
    parameters = make_queue(tmp_path, options).parameters
    assert parameters["additional_parameters"] == {"requeue": True, "mem": "4G", "reservation": "tuesday"}
    assert "mem" not in parameters


@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ({"partitoin": "long"}, Kind.UNKNOWN),
        ({"time": "2"}, Kind.INVALID),
        ({"mem_gb": "much"}, Kind.INVALID),
        ({"nodes": "2"}, Kind.CONFLICT),
        ({"cpus_per_task": "8"}, Kind.CONFLICT),
        ({"cluster": "pbs"}, Kind.INVALID),
        ({"additional_parameters": "reservation"}, Kind.INVALID),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_one_line(option, kind, tmp_path):
    with pytest.raises(UsageError) as caught:
        make_queue(tmp_path, {**LOCAL, **option})
    assert (caught.value.kind, caught.value.flag) == (kind, "slurm")
    assert "\n" not in str(caught.value)


def test_a_machine_without_slurm_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError) as caught:
        make_queue(tmp_path, {})
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "executor", "slurm")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Programs that answer in the place of Slurm's, with what a test writes."""

    def answer(name, text="", status=0):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho $0 $* >> {tmp_path}/calls\ncat <<'END'\n{text}\nEND\nexit {status}\n")
        program.chmod(0o755)

    answer("srun")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return answer


@pytest.fixture
def slurm(cluster, tmp_path):
    return SlurmQueue(tmp_path, {})


def test_ctrl_c_does_not_end_a_submission(slurm, cluster, tmp_path):
    cluster("sbatch")
    program = tmp_path / "bin" / "sbatch"
    program.write_text("#!/bin/sh\nkill -INT $$\necho Submitted batch job 7\n")
    job = Job("one", print, ())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert slurm.submit([Task("01234567", (job,), Place(Store(tmp_path), tmp_path), tmp_path)]) == ["7"]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_tasks_that_wait_or_run_are_in_the_queue(slurm, cluster):
    cluster("squeue", "7_0 None\n7_2 None\n9 Resources")
    assert slurm.find_queued(["7_0", "7_1", "9", "10"]) == {"7_0": "", "9": ""}


def test_reasons_are_told_why_tasks_may_never_run(slurm, cluster):
    cluster("squeue", "7_0 PartitionTimeLimit\n7_1 launch failed requeued held\n8 Priority")
    reasons = {"7_0": "PartitionTimeLimit", "7_1": "launch failed requeued held", "8": ""}
    assert slurm.find_queued(["7_0", "7_1", "8"]) == reasons


def test_no_task_is_lost_while_slurm_does_not_answer(slurm, cluster):
    cluster("squeue", "", 1)
    assert slurm.find_queued(["7_0", "9"]) == {"7_0": "", "9": ""}


def test_the_reason_of_a_loss_is_that_of_slurm(slurm, cluster):
    cluster("scontrol", "JobId=8 JobState=NODE_FAIL Reason=NodeDown ExitCode=0:1 NodeList=n2 BatchHost=n2")
    assert slurm.explain_loss("7_0") == "NODE_FAIL, NodeDown, exit code 0:1 on n2"
    cluster("scontrol", "JobId=8 JobState=CANCELLED Reason=None ExitCode=0:0 NodeList=n1")
    assert slurm.explain_loss("7_0") == "CANCELLED on n1"
    cluster("scontrol", "JobId=8 JobState=CANCELLED Reason=BeginTime ExitCode=0:0 NodeList=(null)")
    assert slurm.explain_loss("7_0") == "CANCELLED"
    cluster("scontrol", "", 1)
    assert "no longer" in slurm.explain_loss("7_0")


def test_tasks_are_cancelled(slurm, cluster, tmp_path):
    cluster("scancel")
    slurm.cancel(["7_0", "9"])
    assert (tmp_path / "calls").read_text().split()[1:] == ["7_0", "9"]


def test_a_task_of_an_earlier_command_runs_while_its_process_does(tmp_path):
    queue = LocalQueue(tmp_path, LOCAL)
    others = ["7_0", str(os.getpid()), "1", "999999999999", "nothing"]  # a number may be that of another process by now
    started = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)", tmp_path]
    with subprocess.Popen(started, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        task = str(process.pid)
        assert queue.find_queued([task, *others]) == {task: ""}
        queue.cancel([task])
    assert process.returncode == -signal.SIGTERM
    assert queue.find_queued([task, *others]) == {}


def fill_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("kind", [LocalQueue, SlurmQueue])
def test_a_full_disk_is_one_line(kind, cluster, tmp_path, monkeypatch):
    cluster("sbatch")
    queue = kind(tmp_path, {"cluster": "local"} if kind is LocalQueue else {})
    monkeypatch.setattr("submitit.core.utils.cloudpickle_dump", fill_disk)
    with pytest.raises(StorageFailed) as caught:
        queue.submit([Task("token", (Job("one", print, ()),), Place(Store(tmp_path), tmp_path), tmp_path)])
    assert str(caught.value) == f"{tmp_path}: cannot be written: No space left on device"


def test_processes_that_have_started_end_if_not_all_can_start(tmp_path, monkeypatch):
    def submit(queue, tasks, *, alone=False):
        if tasks == ["three"]:
            raise StorageFailed("full")
        return [f"{tasks[0]}'s process"]

    ended = []
    monkeypatch.setattr(SlurmQueue, "submit", submit)
    monkeypatch.setattr(LocalQueue, "cancel", lambda queue, tasks: ended.extend(tasks))
    queue = LocalQueue(tmp_path, LOCAL)
    assert queue.submit(["one", "two"]) == ["one's process", "two's process"]
    with pytest.raises(StorageFailed):
        queue.submit(["one", "two", "three"])
    assert ended == ["one's process", "two's process"]
