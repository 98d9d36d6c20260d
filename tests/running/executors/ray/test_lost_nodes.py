"""Runs on a Ray of three nodes, and what Ctrl-C and SIGTERM leave of one."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import pytest

import capsbench
from capsbench.records.store import Store
from capsbench.running.events import JobReported, Measured, Remarked, Resumed, Trained

ray = pytest.importorskip("ray")

from ray.cluster_utils import Cluster  # noqa: E402

from capsbench.running.executors.ray.executor import RayExecutor  # noqa: E402

pytestmark = pytest.mark.slow

REQUEST = dict(routing="dynamic", iters=1, train_size=400, epochs=40, baseline="none", seeds=[0, 1, 2, 3])
MEASURES = ["accuracy", "speed", "transfer"]

TIMES = {"s", "ms", "MiB", "images/s"}

HANGING = ["--routing", "dynamic", "--iters", "1", "--train-size", "400", "--epochs", "100000", "--seeds", "0,1,2"]


@pytest.fixture(scope="module")
def cluster():
    """A head node and two more, with one core each, whose processes have a mark in their environment."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("MARK_OF_CLUSTER", mark := uuid.uuid4().hex)
        before = signal.getsignal(signal.SIGTERM)
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        nodes.mark = mark
        for _ in range(2):
            nodes.add_node(num_cpus=1)
        signal.signal(signal.SIGTERM, before)
        yield nodes
        nodes.shutdown()


@pytest.fixture(scope="module")
def local(tmp_path_factory, one_process):
    folder = tmp_path_factory.mktemp("local")
    with one_process():
        capsbench.run(**REQUEST, measure=MEASURES, out=folder)
    return read_numbers(folder)


def read_numbers(folder):
    """Returns all numbers of a folder but for times."""
    names = ["cell", "measure", "metric", "condition", "value"]
    table = capsbench.load(folder)
    return table[~table.unit.isin(TIMES)][names].sort_values(names[:-1]).reset_index(drop=True)


class Losing:
    """Removes the node of the first cell that has written a checkpoint, unless it is the head node."""

    def __init__(self, cluster, monkeypatch):
        self.cluster, self.nodes, self.events, self.lost = cluster, {}, [], None
        receive = RayExecutor._receive

        def note_node(executor, running, notify):
            yield from receive(executor, running, notify)
            if running.node is not None:
                self.nodes[running.job.name] = running.node.node

        monkeypatch.setattr(RayExecutor, "_receive", note_node)

    def notify(self, event):
        self.events.append(event)
        if self.lost or not isinstance(event, JobReported) or type(event.event).__name__ != "Checkpointed":
            return
        node = self.nodes[event.cell.id]
        if node != self.cluster.head_node.node_id:
            self.lost = event.cell.id
            self.cluster.remove_node(next(other for other in self.cluster.worker_nodes if other.node_id == node))


def test_a_lost_node_changes_no_number(cluster, local, tmp_path, monkeypatch):
    losing = Losing(cluster, monkeypatch)
    where = dict(executor="ray", ray_address=cluster.address)
    outcome = capsbench.run(**REQUEST, measure=MEASURES, out=tmp_path, listener=losing, checkpoint_seconds=0.1, **where)
    assert (len(outcome.finished), outcome.failed, outcome.left) == (4, [], [])
    (remark,) = [event.remark for event in losing.events if isinstance(event, Remarked) and "lost" in event.remark]
    events = [event.event for event in losing.events if isinstance(event, JobReported) and event.cell.id == losing.lost]
    assert "run again, time 1 of at most 2" in remark
    (resumed,) = [event for event in events if isinstance(event, Resumed)]
    assert resumed.epoch >= 1
    assert sum(isinstance(event, Trained) for event in events) == 1
    assert sum(isinstance(event, Measured) for event in events) == 2
    assert read_numbers(tmp_path).equals(local)
    store = Store(tmp_path)
    records, faults = store.records()
    assert (len(records), faults, store.list_unreadable(records)) == (4, [], [])
    for record in records:
        store.read_weights(record)
        assert store.kept(record, "accuracy").keys() >= {"label", "prediction"}
    assert [*store.list_checkpoints(), *(tmp_path / "leases").iterdir()] == []
    assert len([*(tmp_path / "between").rglob("*.json")]) == 16
    assert not ray.is_initialized()


@pytest.fixture
def temporary():
    """A folder for temporary files with a short path, since Ray has sockets in it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield folder


@pytest.fixture
def start(tmp_path, temporary):
    """Starts the command on a training that does not end, in a session of its own, and waits for its first checkpoint."""
    commands = []

    def start_command(*arguments):
        mark = uuid.uuid4().hex
        command = [sys.executable, "-m", "capsbench", "run", "--executor", "ray", *HANGING, "--measure", "accuracy"]
        where = ["--out", str(tmp_path / "results"), "--checkpoint-seconds", "0.1", "--baseline", "none"]
        environment = {**os.environ, "MARK_OF_COMMAND": mark, "TMPDIR": temporary}
        process = subprocess.Popen(
            [*command, *where, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        commands.append(process)
        while not [*(tmp_path / "results").glob("checkpoints/*.safetensors")]:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.1)
        return process, mark

    yield start_command
    for process in commands:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def find_processes(mark, word=""):
    """Returns the command lines, with a word in them, of processes that have a mark in their environment."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                lines.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [line for line in lines if word in line]


def wait_until_none(mark, word=""):
    for _ in range(300):
        if not find_processes(mark, word):
            return []
        time.sleep(0.1)
    return find_processes(mark, word)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_process_and_no_file_of_our_own_ray(start, temporary, number, code):
    process, mark = start()
    assert len(find_processes(mark, "raylet")) >= 1
    (os.killpg if number is signal.SIGINT else os.kill)(
        process.pid, number
    )  # Ctrl-C reaches all processes of a terminal
    printed, _ = process.communicate(timeout=120)
    assert (process.returncode, "Traceback" in printed) == (code, False)
    assert "3 cells are left" in printed
    assert wait_until_none(mark) == []
    left = [path for path in Path(temporary).rglob("*") if path.is_file()]
    assert [path.name for path in left if path.name not in ("jobs", "alone", "ray_current_cluster")] == []


def test_ctrl_c_leaves_no_task_on_a_cluster(start, cluster):
    process, _ = start("--ray-address", cluster.address)
    assert find_processes(cluster.mark, "forkserver")
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=120)
    assert (process.returncode, "Traceback" in printed) == (130, False)
    assert wait_until_none(cluster.mark, "forkserver") == []
    assert find_processes(cluster.mark, "raylet")
