import os
import signal
import subprocess
import sys
import time

import pytest

from capsbench.errors import Kind, ProcessFailed, UsageError
from capsbench.running.executors.local import Job, in_processes


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
        "from capsbench.running.executors.local import Job, in_processes\n"
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
    left = iter([None, 60.0, 0.0])
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
