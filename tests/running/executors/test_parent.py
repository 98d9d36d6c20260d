"""Processes that end together with the process that started them."""

import os
import subprocess
import sys

import pytest

JOB = """
import os, signal, time

def work(send_event):
    pipe = os.open("pipe", os.O_WRONLY)

    def end_in_order(*_):
        os.write(pipe, b"ended in order\\n")
        os._exit(0)

    signal.signal(signal.SIGTERM, end_in_order)
    os.write(pipe, b"at work\\n")
    time.sleep(3600)
"""

SCRIPT = """
from capsbench.running.executors.base import Job
from capsbench.running.executors.processes import in_processes
import job

list(in_processes([Job("one", job.work, ())]))
"""


@pytest.mark.slow
def test_a_job_ends_in_order_with_a_parent_that_is_killed(tmp_path):
    """A training writes its checkpoint then. The job holds the pipe open until it ends."""
    (tmp_path / "job.py").write_text(JOB)
    os.mkfifo(tmp_path / "pipe")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", SCRIPT]
    with (
        subprocess.Popen(command, env=environment, cwd=tmp_path) as parent,
        (tmp_path / "pipe").open(encoding="utf-8") as told,
    ):
        first = told.readline()
        parent.kill()
        assert first == "at work\n"
        assert told.read() == "ended in order\n"  # the end of the pipe comes once the job has ended
