"""Processes that end together with the process that started them."""

import os
import subprocess
import sys

import pytest

JOB = """
import os, signal, time

def end_in_order(*_):
    os.write(1, b"ended in order\\n")
    os._exit(0)

def work(send_event):
    signal.signal(signal.SIGTERM, end_in_order)
    os.write(1, b"at work\\n")
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
    """A training writes its checkpoint then. The job holds its standard output open until it ends."""
    (tmp_path / "job.py").write_text(JOB)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as parent:
        first = parent.stdout.readline()
        parent.kill()
        assert first == "at work\n"
        assert parent.stdout.read() == "ended in order\n"  # the end of the output comes once the job has ended
