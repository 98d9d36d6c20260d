"""The folder of a run on a node."""

import fcntl
import os
import subprocess
import sys

import pytest

from capsbench.running.executors.ray import node
from capsbench.running.executors.ray.node import NodeFolder, find_base, remove_abandoned


@pytest.fixture(autouse=True)
def own_base(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "lock_folder", lambda: tmp_path)
    monkeypatch.setattr(node, "_held", held := {})
    yield
    for opened in held.values():
        os.close(opened)


def test_files_are_fetched_once_a_node():
    fetched = []

    def fetch():
        fetched.append(1)
        return b"images"

    for _ in range(2):
        folder = NodeFolder("run", "a")
        folder.open()
        part = folder.unpack("data", {"mnist/train": fetch})
    assert ((part / "mnist/train").read_bytes(), len(fetched)) == (b"images", 1)


def test_nodes_on_one_machine_have_folders_of_their_own():
    folders = [NodeFolder("run", name) for name in ("a", "b")]
    for folder in folders:
        folder.open()
        folder.unpack("data", {"name": folder.folder.name.encode})
    assert [(folder.folder / "data/name").read_text() for folder in folders] == ["run-a", "run-b"]


def test_a_job_has_a_results_folder_of_its_own_until_it_ends():
    node_folder = NodeFolder("run", "a")
    node_folder.open()
    with node_folder.make_results_folder({"weights/x.safetensors": b"1"}) as folder:
        assert (folder / "weights/x.safetensors").read_bytes() == b"1"
        with node_folder.make_results_folder({}) as other:
            assert other != folder
    assert not folder.exists()
    node_folder.remove()
    assert not node_folder.folder.exists()


def test_the_folder_of_a_killed_run_is_removed_and_that_of_a_live_one_stays():
    program = (
        "import sys, time; from pathlib import Path\n"
        "from capsbench.running.executors.ray import node\n"
        "node.lock_folder = lambda: Path(sys.argv[1])\n"
        "node.NodeFolder('other', 'a').open(); print('open', flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(find_base().parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "open\n"
        NodeFolder("run", "a").open()
        assert {path.name for path in find_base().iterdir()} == {"other-a", "run-a"}
        process.kill()
    remove_abandoned()
    assert {path.name for path in find_base().iterdir()} == {"run-a"}


def test_what_a_cancelled_job_left_is_read_by_its_path(tmp_path):
    folder = NodeFolder("run", "a")
    folder.open()
    with folder.make_results_folder({"checkpoints/x.safetensors": b"1", "weights/y": b"2"}) as results:
        folder.wait_for_jobs(0.0)
        folder.leave(results, "checkpoints/*.safetensors")
    folder.wait_for_jobs(60.0)
    assert folder.read_left() == {"checkpoints/x.safetensors": b"1"}
    assert NodeFolder("run", "b").read_left() == {}


def test_a_folder_that_a_late_job_made_again_is_removed():
    late = find_base() / "ended-a" / "job-1" / "checkpoints"
    late.mkdir(parents=True)
    (late / "x.safetensors").write_bytes(b"1")
    NodeFolder("run", "a").open()
    assert {path.name for path in find_base().iterdir()} == {"run-a"}


def test_a_folder_that_another_run_removes_as_it_is_opened_is_made_again(monkeypatch):
    def lock_late(opened, kind):
        if removals and kind == fcntl.LOCK_SH:
            removals.pop()
            remove_abandoned()  # of another run, which has the lock first
        flock(opened, kind)

    flock, removals = fcntl.flock, [1]
    monkeypatch.setattr(node.fcntl, "flock", lock_late)
    folder = NodeFolder("run", "a")
    folder.open()
    assert folder.unpack("data", {"x": lambda: b"1"}).joinpath("x").read_bytes() == b"1"
    remove_abandoned()
    assert folder.folder.exists()
    assert folder.folder.stat().st_mode & 0o777 == 0o700
