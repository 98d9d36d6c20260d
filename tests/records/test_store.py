import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.records.file import seal_json
from capsbench.records.record import Artifact, Measurement, Row
from capsbench.records.store import Store
from tests.making import make_capsules, make_failed, make_record
from tests.records.old import write_old


@pytest.fixture
def cells():
    return [make_capsules(iterations=iterations) for iterations in (1, 2)]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def finished(cell, accuracy=0.9):
    rows = [
        Row("accuracy", "accuracy", "test", accuracy, "fraction"),
        Row("cost", "flops", "inference", 5, "FLOP/image"),
    ]
    history = [{"epoch": 1, "loss": 0.5, "validation_accuracy": 0.8}]
    return make_record(cell, rows, history=history, provenance={"torch": "2.15.0"})


def test_what_is_written_is_what_is_read(store, cells):
    store.write(finished(cells[0]))
    assert store.read(cells[0].id) == finished(cells[0])
    assert store.has(cells[0])
    assert not store.has(cells[1])


def test_a_failed_cell_is_not_on_record(store, cells):
    store.write(make_failed(cells[0]))
    assert not store.has(cells[0])
    assert store.records() == ([make_failed(cells[0])], [])


def test_a_trained_cell_is_on_record(store, cells):
    store.write(make_record(cells[0], wanted=["speed"]))
    assert store.has(cells[0])


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 2}', '{"schema": 1, "cell": {}}', "\x00"])
def test_a_damaged_record_is_named_and_passed_over(store, cells, content):
    store.write(finished(cells[1]))
    store.record_path(cells[0].id).write_text(content)
    records, (fault,) = store.records()
    assert [record.cell.id for record in records] == [cells[1].id]
    assert cells[0].id in fault
    assert not store.has(cells[0])


def newer(store, cell):
    path = store.record_path(cell.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(seal_json({"schema": 99, "all": "new"}))
    return path


def test_a_record_of_a_newer_schema_is_never_written_over(store, cells):
    path = newer(store, cells[0])
    content = path.read_bytes()
    for refused in (
        lambda: store.read(cells[0].id),
        lambda: store.write(finished(cells[0])),
        lambda: store.check_not_newer(cells),
    ):
        with pytest.raises(UsageError) as caught:
            refused()
        assert (caught.value.file, caught.value.value) == (path, 99)
    assert path.read_bytes() == content
    store.check_not_newer(cells[1:])


@pytest.mark.parametrize("schema", [99, "next"])
def test_rows_between_networks_of_a_newer_schema_are_never_written_over_or_removed(store, cells, schema):
    path = store.between_path("transfer", cells[0].id, cells[1].id)
    path.parent.mkdir(parents=True)
    path.write_bytes(seal_json({"all": "new", "schema": schema}))
    for refused in (lambda: store.check_not_newer(cells[1:]), store.check_none_newer):
        with pytest.raises(UsageError) as caught:
            refused()
        assert (caught.value.file, caught.value.value) == (path, schema)
    store.check_not_newer([make_capsules(iterations=7)])


def test_a_record_under_another_name_is_refused(store, cells):
    store.write(finished(cells[0]))
    store.record_path("copy").write_bytes(store.record_path(cells[0].id).read_bytes())
    records, (fault,) = store.records()
    assert len(records) == 1
    assert "copy.json" in fault


def test_a_write_that_fails_leaves_the_old_record_and_no_litter(store, cells, monkeypatch):
    store.write(finished(cells[0], accuracy=0.9))

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageFailed):
        store.write(finished(cells[0], accuracy=0.1))
    assert store.read(cells[0].id).rows[0].value == 0.9
    assert [path.name for path in store.record_path(cells[0].id).parent.iterdir()] == [f"{cells[0].id}.json"]


def test_a_record_that_could_not_be_read_is_not_written(store, cells):
    store.write(finished(cells[0], accuracy=0.9))
    for unreadable in (
        replace(finished(cells[0]), request={"data": "\udcff"}),
        replace(finished(cells[0]), wanted=["w" * 1001]),
        finished(cells[0], accuracy=1.5),
    ):
        with pytest.raises(StorageFailed, match=cells[0].id):
            store.write(unreadable)
    assert store.read(cells[0].id) == finished(cells[0], accuracy=0.9)


def write_between(store, one, other, version=1, code=None):
    row = Row("transfer", "accuracy", one.id, 0.5, "fraction")
    store.write_between("transfer", one.id, other.id, Measurement([row], version, {"cpu": "a CPU"}, code=code))


def test_rows_between_networks_stand_on_the_record_of_the_target(store, cells):
    one, other = (finished(cell) for cell in cells)
    write_between(store, *cells)
    assert store.has_between("transfer", one, other, version=1)
    assert not store.has_between("transfer", other, one, version=1)
    assert not store.has_between("transfer", one, other, version=2)
    assert not store.has_between("transfer", one, other, version=1, code="edited")
    joined = store.add_between([one, other])
    assert joined[0] == one
    assert [row.condition for row in joined[1].measures["transfer"].rows] == [cells[0].id]
    assert store.add_between([other]) == [other]


@pytest.mark.parametrize("change", [lambda text: text.replace("0.5", "0.7"), lambda text: text[:20], lambda text: ""])
def test_changed_rows_between_networks_are_taken_again(store, cells, change):
    one, other = (finished(cell) for cell in cells)
    write_between(store, *cells)
    path = store.between_path("transfer", cells[0].id, cells[1].id)
    path.write_text(change(path.read_text()))
    assert not store.has_between("transfer", one, other, version=1)
    assert store.add_between([one, other]) == [one, other]


def test_tensors_come_back(store, cells):
    kept = {"label": torch.tensor([1, 2]), "prediction": torch.tensor([1, 0]), "nll": torch.tensor([0.1, 3.0])}
    artifact = store.write_tensors(store.kept_path("my.module:Mine", cells[0].id), kept)
    record = make_record(cells[0], measured=["my.module:Mine"])
    record = type(record)(cells[0], record.training, {"my.module:Mine": Measurement(kept=artifact)})
    back = store.kept(record, "my.module:Mine")
    assert all(np.array_equal(back[name], kept[name]) for name in kept)
    assert store.kept(record, "accuracy") == {}


def test_arrays_of_another_record_are_not_taken(store, cells):
    paths = [store.kept_path("accuracy", cell.id) for cell in cells]
    artifacts = [store.write_tensors(path, {"label": torch.tensor([i])}) for i, path in enumerate(paths)]
    paths[0].write_bytes(paths[1].read_bytes())
    assert store.read_artifact(artifacts[0]) == {}
    assert store.read_artifact(artifacts[1])["label"].tolist() == [1]
    assert store.read_artifact(Artifact(artifacts[0].path))["label"].tolist() == [1]


def test_the_stamp_of_a_record_changes_whenever_it_is_written(store, cells):
    (cell, *_) = cells
    stamps = [store.stamp(cell.id)]
    for _ in range(2):
        store.write(finished(cell))
        stamps.append(store.stamp(cell.id))
    assert stamps[0] is None
    assert len({*stamps}) == 3


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError) as caught:
        Store(tmp_path / "file" / "results").check_writable()
    assert (caught.value.kind, caught.value.flag) == (Kind.INACCESSIBLE, "out")


def test_what_is_forgotten_is_what_was_measured_between_a_network_and_others(store, cells):
    one, other = (finished(cell) for cell in cells)
    for cell in cells:
        for target in cells:
            write_between(store, cell, target)
    store.remove_outdated(one)
    left = [(a, b) for a in (one, other) for b in (one, other) if store.has_between("transfer", a, b, 1)]
    assert left == [(other, other)]


def test_of_rows_between_networks_by_old_and_new_identities_the_latest_version_stands(store, cells):
    one, other = finished(cells[0]), replace(finished(cells[1]), aliases=["000000000000"])
    row = Row("transfer", "accuracy", cells[0].id, 0.5, "fraction")
    store.write_between("transfer", cells[0].id, "000000000000", Measurement([row._replace(value=0.1)], 1))
    store.write_between("transfer", cells[0].id, cells[1].id, Measurement([row], 2))
    assert store.add_between([one, other])[1].measures["transfer"].rows == [row]


def test_of_rows_between_networks_of_one_version_those_of_the_last_name_stand(store, cells):
    one, other = finished(cells[0]), replace(finished(cells[1]), aliases=["000000000000", "111111111111"])
    row = Row("transfer", "accuracy", cells[0].id, 0.5, "fraction")
    for name, value in (("111111111111", 0.2), ("000000000000", 0.1)):
        store.write_between("transfer", cells[0].id, name, Measurement([row._replace(value=value)]))
    assert store.add_between([one, other])[1].measures["transfer"].rows == [row._replace(value=0.2)]


def test_runs_are_noted_with_their_cells(store, cells):
    assert store.runs() == []
    noted = [store.write_run(part, "capsbench run") for part in (cells[:1], cells)]
    assert [[*run.cells] for run in store.runs()] == [[cells[0].id], [cell.id for cell in cells]]
    assert store.runs() == noted


def test_what_a_killed_write_left_beside_its_record_is_removed(store, cells):
    one, other = (write_old(finished(cell), store.folder, ["accuracy", "cost"]) for cell in cells)
    old, content = store.record_path(one), store.record_path(one).read_bytes()
    store.write(store.read(one))
    assert not old.exists()
    old.write_bytes(content)  # as if the process had been killed before
    opened = Store(store.folder)
    opened.remove_replaced(cells)
    assert not old.exists()
    assert opened.has(cells[0])
    assert store.record_path(other).exists()  # nothing has replaced it
    assert {record.cell.id for record in opened.records()[0]} == {cell.id for cell in cells}


def test_a_damaged_record_has_replaced_nothing(store, cells):
    one = write_old(finished(cells[0]), store.folder, ["accuracy", "cost"])
    store.record_path(cells[0].id).write_text("{")
    Store(store.folder).remove_replaced(cells)
    assert store.record_path(one).exists()


def test_weights_are_those_that_the_training_names(store, cells):
    weights = {"layer": torch.arange(3.0)}
    record = finished(cells[0])
    assert not store.has_weights(record)
    assert not store.has_weights(make_failed(cells[0]))
    assert store.weights_of(record) == store.weights_path(cells[0].id)
    with pytest.raises(UsageError) as caught:
        store.read_weights(record)
    assert caught.value.kind == Kind.MISSING
    artifact = store.write_tensors(store.folder / "weights" / "other.safetensors", weights)
    named = replace(record, training=replace(record.training, weights=artifact))
    assert artifact.path == "weights/other.safetensors"
    assert store.has_weights(named)
    assert store.weights_of(named) == store.folder / "weights" / "other.safetensors"
    assert torch.equal(store.read_weights(named)["layer"], weights["layer"])
    store.write_tensors(store.weights_of(named), {"layer": torch.ones(3)})
    with pytest.raises(UsageError) as caught:
        store.read_weights(named)
    assert caught.value.kind == Kind.DAMAGED
