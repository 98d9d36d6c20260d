import gc
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from capsbench.errors import Kind, ProcessFailed, UsageError
from capsbench.records.software.provenance import read_source_state
from capsbench.running.executors import processes
from capsbench.running.executors.base import Job
from capsbench.running.executors.processes import in_processes
from capsbench_kernels.passes.cpu import launch


def double(number, send):
    send(f"doubling {number}")
    return 2 * number


def nap(seconds, send):
    time.sleep(seconds)
    return os.getpid()


def die(send):
    os.kill(os.getpid(), signal.SIGKILL)


def leave(send):
    os._exit(7)


def exhaust(send):
    raise MemoryError("not that much")


def crash(send):
    raise RuntimeError("first line\nsecond line")


def refuse(send):
    raise UsageError(Kind.UNKNOWN, flag="size", value="large")


def test_results_and_events_come_back_under_the_jobs_name():
    events = []
    jobs = [Job(f"job {number}", double, (number,)) for number in range(3)]
    results = dict(in_processes(jobs, workers=2, on_event=lambda name, event: events.append((name, event))))
    assert results == {"job 0": 0, "job 1": 2, "job 2": 4}
    assert sorted(events) == [(f"job {number}", f"doubling {number}") for number in range(3)]


PRINTING = """
from capsbench.running.executors.base import Job
from capsbench.running.executors.processes import in_processes

if __name__ == "__main__":
    print({"results": dict(in_processes([Job("job", print, ("epoch 1",))], fork=FORK))})
"""


@pytest.mark.parametrize("fork", ["False", "True"])
def test_what_a_job_prints_is_no_output_of_the_command(fork):
    done = subprocess.run(
        [sys.executable, "-c", PRINTING.replace("FORK", fork)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "{'results': {'job': None}}\n"
    assert done.stderr.startswith("epoch 1 ")


def count_source_states(send):
    return read_source_state.cache_info().currsize


def test_a_process_knows_the_commit_that_the_server_started_from():
    assert dict(in_processes([Job("any", count_source_states, ())])) == {"any": 1}


def count_kernels_and_frozen(send):
    return len(launch.sweep_item.overloads), gc.get_freeze_count()


def test_a_process_has_the_kernels_and_leaves_the_objects_of_the_server_alone():
    ((_, (kernels, frozen)),) = in_processes([Job("any", count_kernels_and_frozen, ())])
    assert kernels == 1
    assert frozen > 100_000


def test_a_job_has_a_process_of_its_own():
    pids = [pid for _, pid in in_processes([Job(str(i), nap, (0.0,)) for i in range(2)])]
    assert len({os.getpid(), *pids}) == 3


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (die, "the process died: SIGKILL, which the system sends when it runs out of memory"),
        (leave, "the process died: exit code 7"),
        (exhaust, "out of memory: not that much"),
        (crash, "RuntimeError: first line"),
    ],
)
def test_a_failure_has_one_line_and_the_others_go_on(function, reason):
    results = dict(in_processes([Job("bad", function, ()), Job("good", double, (1,))]))
    assert isinstance(results["bad"], ProcessFailed)
    assert str(results["bad"]) == reason
    assert results["good"] == 2


def mute(send):
    class Mute(Exception):
        def __str__(self):
            raise ValueError

    raise Mute


def quit(send):
    exit(0)


@pytest.mark.parametrize("function", [mute, quit])
def test_a_job_that_leaves_or_cannot_say_why_it_failed_has_failed(function):
    ((_, failure),) = in_processes([Job("bad", function, ())])
    assert isinstance(failure, ProcessFailed)
    assert f"in {function.__name__}" in failure.trace


def test_a_temporary_folder_of_too_long_a_name_is_told(tmp_path):
    """The sockets of processes lie in it, whose names have about a hundred letters at most."""
    long = tmp_path / ("a" * 100)
    long.mkdir()
    script = (
        "from capsbench.errors import UsageError\n"
        "from capsbench.running.executors.base import Job\n"
        "from capsbench.running.executors.processes import in_processes\n"
        "try:\n    list(in_processes([Job('any', print, ())]))\n"
        "except UsageError as error:\n    print(error.kind, error.file)"
    )
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, env={**os.environ, "TMPDIR": str(long), "PYTHONPATH": os.pathsep.join(sys.path)},
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.split() == ["invalid", str(long)]


def test_the_trace_of_what_raised_is_kept():
    ((_, failure),) = in_processes([Job("bad", crash, ())])
    assert "in crash" in failure.trace


def test_what_the_user_can_mend_comes_back_as_it_is():
    ((_, failure),) = in_processes([Job("bad", refuse, ())])
    assert isinstance(failure, UsageError)
    assert (failure.kind, failure.flag, failure.value) == (Kind.UNKNOWN, "size", "large")


def test_jobs_end_when_no_time_is_left_and_those_that_wait_are_not_begun():
    heard = []
    left = iter([None, 0.5, 0.0])
    jobs = [Job("quick", double, (1,)), Job("slow", nap, (600.0,)), Job("waiting", nap, (600.0,))]
    results = dict(
        in_processes(jobs, 2, on_event=lambda name, event: heard.append(name), seconds_left=lambda: next(left))
    )
    assert heard == ["quick"]
    assert results.keys() <= {"quick"}
    assert next(left, "asked three times") == "asked three times"


def test_leaving_the_loop_ends_the_processes():
    started = time.monotonic()
    jobs = in_processes([Job("quick", double, (1,)), Job("slow", nap, (60.0,))], workers=2)
    assert next(jobs) == ("quick", 2)
    jobs.close()
    assert time.monotonic() - started < 30


def start_child(send):
    """Dies while a child of it holds the pipe to the run."""
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_job_whose_child_outlives_it_has_ended():
    ((_, failure),) = in_processes([Job("orphan", start_child, ())])
    assert isinstance(failure, ProcessFailed)


def test_a_job_that_takes_longer_than_its_limit_fails_and_the_others_go_on():
    jobs = [Job("slow", nap, (600.0,), time_limit=0.2), Job("quick", double, (1,), time_limit=600.0)]
    results = dict(in_processes(jobs))
    assert isinstance(results["slow"], ProcessFailed)
    assert results["quick"] == 2


def ignore_requests(send):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def test_a_job_that_does_not_stop_is_killed(monkeypatch):
    monkeypatch.setattr("capsbench.running.executors.processes.SECONDS_TO_STOP", 0.2)
    ((_, failure),) = in_processes([Job("stubborn", ignore_requests, (), time_limit=0.5)])
    assert isinstance(failure, ProcessFailed)


def test_jobs_are_asked_for_again_where_there_was_none_for_a_moment(monkeypatch):
    monkeypatch.setattr("capsbench.running.executors.processes.SECONDS_BETWEEN_OFFERS", 0.01)
    jobs = [None, Job("one", double, (1,)), None, None, Job("two", double, (2,))]
    assert dict(in_processes(jobs, workers=2)) == {"one": 2, "two": 4}


def read_environment(send):
    return os.environ["CAPSBENCH_TEST"]


def test_a_job_has_its_environment():
    jobs = [Job(name, read_environment, (), environment={"CAPSBENCH_TEST": name}) for name in ("a", "b")]
    assert dict(in_processes(jobs)) == {"a": "a", "b": "b"}


def test_the_server_starts_with_short_waits_whoever_starts_it(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    seen = []
    monkeypatch.setattr(processes.forkserver, "ensure_running", lambda: seen.append(os.environ.get("GOMP_SPINCOUNT")))
    started = SimpleNamespace(start=lambda: seen.append("started"))
    processes._start_from_server(started)
    assert seen == ["1000", "started"]
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    processes._start_from_server(started)
    assert seen[2:] == ["7", "started"]


def test_a_fork_has_what_this_process_has_imported_and_no_handler_of_interrupts():
    threads = dict(in_processes([Job("any", list_own, ())], fork=True))["any"]
    assert threads == (os.getpid(), True, signal.SIG_IGN)


def list_own(send):
    return os.getppid(), "tests.running.executors.test_processes" in sys.modules, signal.getsignal(signal.SIGINT)


@pytest.mark.parametrize("function", [die, leave])
def test_a_fork_that_dies_harms_nobody(function):
    jobs = [Job("dies", function, ()), Job("doubles", double, (2,))]
    results = dict(in_processes(jobs, fork=True))
    assert isinstance(results["dies"], ProcessFailed)
    assert results["doubles"] == 4
