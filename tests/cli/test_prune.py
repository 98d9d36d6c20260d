"""`capsbench prune` as a person types it."""

import json

import pytest

from capsbench.records.record import Row
from capsbench.records.sharing.leases import Leases
from capsbench.records.store import Store
from tests.making import make_capsules, make_record

CELL = make_capsules()


@pytest.fixture
def folder(tmp_path):
    """A folder of a finished network with a checkpoint and weights."""
    store = Store(tmp_path / "results")
    store.write(make_record(CELL, [Row("accuracy", "accuracy", "test", 0.9, "fraction")]))
    for name in ("checkpoints", "weights"):
        (store.folder / name).mkdir()
        (store.folder / name / f"{CELL.id}.safetensors").write_bytes(b"12345")
    return store.folder


def test_it_lists_what_may_go_and_deletes_it_when_told(capsbench, folder, tmp_path):
    checkpoint = folder / "checkpoints" / f"{CELL.id}.safetensors"
    listed = capsbench("prune", cwd=tmp_path)
    assert listed.returncode == 0
    assert "--yes" in listed.stdout
    assert checkpoint.exists()
    row = [line for line in listed.stdout.splitlines() if line.startswith("checkpoints")]
    assert [line.split()[-3:] for line in row] == [["1", "5", "bytes"]]
    deleted = capsbench("prune", "--yes", cwd=tmp_path).stdout
    assert "--yes" not in deleted
    assert not checkpoint.exists()
    assert capsbench("prune", cwd=tmp_path).stdout == "nothing in results may go\n"
    assert (folder / "weights" / f"{CELL.id}.safetensors").exists()


def test_programs_read_json(capsbench, folder, tmp_path):
    facts = json.loads(capsbench("prune", "--weights", "--json", cwd=tmp_path).stdout)
    assert (facts["deleted"], facts["left_alone"]) == (False, [])
    assert facts["kinds"] == {"checkpoints": {"files": 1, "bytes": 5}, "weights": {"files": 1, "bytes": 5}}
    assert facts["files"] == [f"results/{name}/{CELL.id}.safetensors" for name in ("checkpoints", "weights")]


def test_cells_on_which_commands_work_are_counted(capsbench, folder, tmp_path):
    Leases(folder).take(CELL.id)
    assert "1 cell" in capsbench("prune", cwd=tmp_path).stdout
    assert capsbench("prune", "--weights", "--yes", cwd=tmp_path).returncode == 2
