"""Processes that end together with the process that started them."""

import os
import subprocess
import sys

JOB = """
import os, time

def work(send_event):
    os.write(1, b"at work\\n")
    time.sleep(3600)
"""

SCRIPT = """
from capsbench.running.executors.local import Job, in_processes
import job

list(in_processes([Job("one", job.work, ())]))
"""


def test_a_job_ends_with_a_parent_that_is_killed(tmp_path):
    """The job holds its standard output open until it ends."""
    (tmp_path / "job.py").write_text(JOB)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as parent:
        first = parent.stdout.readline()
        parent.kill()
        assert first == "at work\n"
        assert parent.stdout.read() == ""  # its end comes once the job has ended
