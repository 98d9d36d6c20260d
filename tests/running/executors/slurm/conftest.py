"""A Slurm for the tests that need a real one, and trainings that wait until a test has acted."""

import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from capsbench.running.executors.slurm import executor
from tests.running.executors.slurm.cluster import Cluster, find_missing_program, wait_until

PAUSING = '''
"""A routing that waits after some steps of a training, until a file says that it need not."""

import os
import time
from multiprocessing import parent_process
from pathlib import Path

from capsbench.routing import DynamicRouting

FOLDER = Path(__file__).parent

class Pausing(DynamicRouting):
    steps = 0

    def forward(self, *arguments, **named):
        self.steps += self.training
        if self.steps >= 7 and not (FOLDER / "go").exists():
            node = os.environ.get("SLURMD_NODENAME")
            (FOLDER / f"paused-{node}-{parent_process().pid}").write_text(os.environ["SLURM_JOB_ID"])
            ends = time.monotonic() + 120.0  # a test that fails lets no task stay
            while not (FOLDER / "go").exists() and time.monotonic() < ends:
                time.sleep(0.02)
        return super().forward(*arguments, **named)
'''


@pytest.fixture(scope="session")
def cluster():
    """A Slurm of two nodes with a core each, see `Cluster`."""
    if program := find_missing_program():
        pytest.skip(f"no {program}: a real Slurm needs Debian's packages slurm-wlm, munge and util-linux")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, Cluster(Path(folder)) as started:
        yield started


@pytest.fixture
def slurm(cluster, monkeypatch):
    """The cluster, for commands of the test; nothing is left in its queue."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(executor, "SECONDS_BETWEEN_LOOKS", 0.1)
    monkeypatch.setattr(executor, "SECONDS_BETWEEN_QUERIES", 1.0)
    yield cluster
    try:
        wait_until(lambda: not cluster.list_queued(), "a task is left in the queue", seconds=20.0)
    finally:
        cluster.cancel_all()


@pytest.fixture
def pausing(tmp_path, monkeypatch):
    """The folder of the module ``pausing``; its trainings wait until ``go`` is called."""
    (tmp_path / "pausing.py").write_text(PAUSING)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def wait_for_paused(count=1):
        """Waits for so many pauses, since the beginning, and returns node and process of the task -> job of each."""

        def have_paused():
            return len([*tmp_path.glob("paused-*")]) >= count or (tmp_path / "go").exists()

        wait_until(have_paused, "no training pauses", seconds=120.0)
        return {path.name.partition("-")[2]: path.read_text() for path in tmp_path.glob("paused-*")}

    yield SimpleNamespace(folder=tmp_path, wait=wait_for_paused, go=(tmp_path / "go").touch)
    (tmp_path / "go").touch()
    sys.modules.pop("pausing", None)


@pytest.fixture
def meanwhile(pausing):
    """Calls functions in the background, beside a command; their failures are those of the test."""
    failures, threads = [], []

    def call(function):
        try:
            function()
        except BaseException as error:
            failures.append(error)
        finally:
            pausing.go()

    def start(function):
        thread = threading.Thread(target=call, args=(function,))
        threads.append(thread)
        thread.start()

    try:
        yield start
    finally:
        pausing.go()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
