"""What `prune` deletes, and when it does not."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

import capsbench
from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.pruning import removal
from capsbench.pruning.sizes import Size
from capsbench.records.record import Artifact, Measurement, Row
from capsbench.records.sharing.leases import Leases
from capsbench.records.store import Store
from tests.making import make_capsules, make_record

CELL, OTHER = make_capsules(seed=0), make_capsules(seed=1)
GONE = "0123456789ab"


@pytest.fixture
def store(tmp_path):
    """A folder with one finished network, of which each kind of file that may go exists, and one that may not."""
    store = Store(tmp_path)
    store.write(make_record(CELL, [Row("accuracy", "accuracy", "test", 0.9, "fraction")]))
    for name in (
        f"checkpoints/{CELL.id}.safetensors",
        f"kept/affine/{CELL.id}.safetensors",
        f"between/transfer/{CELL.id}/{GONE}.json",
        f"weights/{CELL.id}.safetensors",
        f"kept/accuracy/{CELL.id}.safetensors",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    (tmp_path / "records" / f".{CELL.id}.json.{process.pid}").write_bytes(b"12345")
    Leases(tmp_path).take(OTHER.id)
    lease = tmp_path / "leases" / f"{OTHER.id}.1.json"
    facts = json.loads(lease.read_text())
    facts["holder"]["born"] = "1"
    lease.write_text(json.dumps(facts))
    return store


@pytest.fixture
def files(tmp_path):
    """Lists the files in the folder."""
    return lambda: {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}


def test_nothing_is_deleted_unless_it_is_confirmed(store, files):
    before = files()
    pruned = capsbench.prune(store.folder)
    assert (pruned.deleted, pruned.left_alone, files()) == (False, [], before)
    sizes = {kind: size.files for kind, size in pruned.sizes.items()}
    assert sizes == {"checkpoints": 1, "kept": 1, "between": 1, "temporary": 1, "leases": 1}
    assert pruned.sizes["kept"] == Size(1, 5)


def test_what_was_listed_is_deleted_and_all_else_stays(store, files):
    before, listed = files(), capsbench.prune(store.folder)
    pruned = capsbench.prune(store.folder, yes=True)
    assert (pruned.deleted, sorted(map(str, pruned.files))) == (True, sorted(map(str, listed.files)))
    assert files() == before - {file.path.relative_to(store.folder).as_posix() for file in listed.files}
    assert files() == {
        f"records/{CELL.id}.json",
        f"weights/{CELL.id}.safetensors",
        f"kept/accuracy/{CELL.id}.safetensors",
    }
    assert capsbench.prune(store.folder, yes=True).files == []


def test_weights_are_deleted_on_request(store, files):
    capsbench.prune(store.folder, weights=True, yes=True)
    assert files() == {f"records/{CELL.id}.json", f"kept/accuracy/{CELL.id}.safetensors"}
    assert store.read(CELL.id).status == "finished"


def test_a_cell_on_which_a_command_works_is_left_alone(store, files):
    before = files()
    Leases(store.folder).take(CELL.id)
    for yes in (False, True):
        pruned = capsbench.prune(store.folder, yes=yes)
        assert (pruned.left_alone, sorted(pruned.sizes)) == ([CELL.id], ["leases", "temporary"])
    assert {name for name in before if CELL.id in name and "/." not in name} <= files()


def test_weights_stay_while_a_command_works_on_any_cell(store, files):
    Leases(store.folder).take(GONE)
    before = files()
    with pytest.raises(UsageError) as error:
        capsbench.prune(store.folder, weights=True, yes=True)
    assert (error.value.kind, error.value.flag, files()) == (Kind.BUSY, "weights", before)
    assert "weights" in capsbench.prune(store.folder, weights=True).sizes


def test_what_another_process_has_recorded_since_is_not_deleted(store, files, monkeypatch):
    name = f"kept/affine/{CELL.id}.safetensors"
    find_waste = removal.find_waste

    def find_then_record(networks, *arguments, **options):
        waste = find_waste(networks, *arguments, **options)
        record = store.read(CELL.id)
        store.write(replace(record, measures={**record.measures, "affine": Measurement(kept=Artifact(name))}))
        return waste

    monkeypatch.setattr(removal, "find_waste", find_then_record)
    pruned = capsbench.prune(store.folder, yes=True)
    assert name in files()
    assert "kept" not in pruned.sizes


def test_a_file_that_cannot_be_deleted_is_named(store):
    path = store.folder / "checkpoints" / f"{CELL.id}.safetensors"
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageFailed, match=str(path)):
        capsbench.prune(store.folder, yes=True)


def test_a_folder_of_a_newer_capsbench_is_refused(store):
    store.record_path(OTHER.id).write_text(json.dumps({"schema": 99}))
    with pytest.raises(UsageError):
        capsbench.prune(store.folder)
