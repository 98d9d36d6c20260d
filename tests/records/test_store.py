import json
import os

import numpy as np
import pandas as pd
import pytest
import torch

from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.planning.matrix import cells_of
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.records.table import COLUMNS, ROW_COLUMNS, history_of, load


@pytest.fixture
def cells():
    return cells_of({"routing": "em", "iters": "1,2", "seeds": 0})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def finished(cell, accuracy=0.9):
    return Record(
        cell=cell,
        status="finished",
        rows=[
            Row("accuracy", "accuracy", "test", accuracy, "fraction"),
            Row("speed", "flops", "inference", 5, "FLOP/image"),
        ],
        history=[{"epoch": 1, "loss": 0.5, "validation_accuracy": 0.8}],
        provenance={"torch": "2.15.0"},
    )


def test_what_is_written_is_what_is_read(store, cells):
    store.write(finished(cells[0]))
    assert store.read(cells[0].id) == finished(cells[0])
    assert store.has(cells[0])
    assert not store.has(cells[1])


def test_load_gives_one_row_a_number(store, cells):
    for cell in cells:
        store.write(finished(cell))
    table = load(store.folder)
    assert len(table) == 2 * len(cells)
    assert list(table.columns[: len(COLUMNS)]) == COLUMNS
    assert list(table.columns[-len(ROW_COLUMNS) :]) == ROW_COLUMNS
    em = table[(table["routing"] == "em") & (table["metric"] == "accuracy")]
    assert sorted(em["iterations"]) == [1, 2]
    cnn = table[table["network"] == "matched"]
    assert cnn["iterations"].isna().all()
    assert cnn["routing"].isna().all()
    assert em["routing.annealing"].tolist() == [0.1, 0.1]


def test_load_of_nothing_is_an_empty_table_with_its_columns(tmp_path):
    table = load(tmp_path)
    assert table.empty
    assert {*COLUMNS, *ROW_COLUMNS} <= {*table.columns}
    assert isinstance(table, pd.DataFrame)


def test_load_of_a_folder_that_is_not_there_says_so(tmp_path):
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "typo")
    assert (caught.value.kind, caught.value.file) == (Kind.MISSING, tmp_path / "typo")


def test_history_has_one_row_an_epoch(store, cells):
    store.write(finished(cells[0]))
    table = history_of(store.records()[0])
    assert table[["cell", "epoch", "loss"]].values.tolist() == [[cells[0].id, 1, 0.5]]


def test_a_failed_cell_gives_no_numbers_and_is_tried_again(store, cells):
    store.write(Record(cells[0], "failed", reason="the loss became nan"))
    assert not store.has(cells[0])
    assert load(store.folder).empty


def test_a_trained_cell_shows_what_was_measured_of_it(store, cells):
    store.write(Record(cells[0], "trained", rows=[Row("accuracy", "accuracy", "test", 0.5, "fraction")]))
    assert store.has(cells[0])
    assert load(store.folder)["value"].tolist() == [0.5]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"schema": 1}', '{"schema": 1, "cell": {}, "status": "finished"}', "\x00"]
)
def test_a_damaged_record_is_named_and_passed_over(store, cells, content):
    store.write(finished(cells[1]))
    store.record_path(cells[0].id).write_text(content)
    records, faults = store.records()
    assert [record.cell.id for record in records] == [cells[1].id]
    assert len(faults) == 1
    assert cells[0].id in faults[0]
    assert not store.has(cells[0])


def test_a_record_of_another_schema_says_so(store, cells):
    store.write(finished(cells[0]))
    path = store.record_path(cells[0].id)
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(UsageError) as caught:
        store.read(cells[0].id)
    assert (caught.value.kind, caught.value.file, caught.value.value) == (Kind.DAMAGED, path, 99)


def test_a_record_that_is_not_there_cannot_be_read(store):
    with pytest.raises(UsageError) as caught:
        store.read("absent")
    assert (caught.value.kind, caught.value.file) == (Kind.INACCESSIBLE, store.record_path("absent"))


def test_a_record_under_another_name_is_refused(store, cells):
    store.write(finished(cells[0]))
    store.record_path("copy").write_text(store.record_path(cells[0].id).read_text())
    records, (fault,) = store.records()
    assert len(records) == 1
    assert str(store.record_path("copy")) in fault
    with pytest.raises(UsageError) as caught:
        store.read("copy")
    assert (caught.value.kind, caught.value.value) == (Kind.DAMAGED, cells[0].id)


@pytest.mark.parametrize("change", [{"status": "weird"}, {"provenance": None}, {"rows": [{"value": "abc"}]}])
def test_a_record_with_a_field_that_cannot_be_is_damaged(store, cells, change):
    store.write(finished(cells[0]))
    path = store.record_path(cells[0].id)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert len(store.records()[1]) == 1


def test_a_write_that_fails_leaves_the_old_record_and_no_litter(store, cells, monkeypatch):
    store.write(finished(cells[0], accuracy=0.9))

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageFailed) as caught:
        store.write(finished(cells[0], accuracy=0.1))
    assert all(fact in str(caught.value) for fact in (f"{cells[0].id}.json", "No space left on device"))
    assert store.read(cells[0].id).rows[0].value == 0.9
    assert [path.name for path in store.record_path(cells[0].id).parent.iterdir()] == [f"{cells[0].id}.json"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", '"inf"'])
@pytest.mark.parametrize("field", ["value", "level"])
def test_a_number_that_is_not_finite_makes_no_whole_record(store, cells, field, number):
    store.write(finished(cells[0]))
    path = store.record_path(cells[0].id)
    content = json.loads(path.read_text())
    content["rows"][1][field] = "HERE"
    path.write_text(json.dumps(content).replace('"HERE"', number))
    with pytest.raises(UsageError) as caught:
        store.read(cells[0].id)
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path)
    assert f"rows.1.{field}" in caught.value.problem
    assert not store.has(cells[0])


def test_a_damaged_record_is_described_without_names_of_classes(store, cells):
    store.record_path(cells[0].id).parent.mkdir(parents=True)
    store.record_path(cells[0].id).write_text("{")
    with pytest.raises(UsageError) as caught:
        store.read(cells[0].id)
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, store.record_path(cells[0].id))
    assert "invalid JSON" in caught.value.problem


def test_rows_between_networks_that_are_not_finite_are_made_again(store, cells):
    one, other = cells[:2]
    store.write_between("transfer", one.id, other.id, [Row("transfer", "accuracy", "test", 0.5, "fraction")])
    assert store.has_between("transfer", one.id, other.id)
    path = store.between_path("transfer", one.id, other.id)
    path.write_text(path.read_text().replace("0.5", "NaN"))
    assert not store.has_between("transfer", one.id, other.id)


def test_a_number_that_is_none_is_not_written(store, cells):
    with pytest.raises(ValueError, match="JSON"):
        store.write(finished(cells[0], accuracy=float("nan")))
    assert not store.record_path(cells[0].id).exists()


def test_tensors_come_back(store, cells):
    kept = {"label": torch.tensor([1, 2]), "prediction": torch.tensor([1, 0]), "nll": torch.tensor([0.1, 3.0])}
    store.write_tensors(store.kept_path("my.module:Mine", cells[0].id), kept)
    back = store.kept("my.module:Mine", cells[0].id)
    assert all(np.array_equal(back[name], kept[name]) for name in kept)


def test_one_run_at_a_time(store):
    store.check_writable()
    other = Store(store.folder)
    with store.lock(), pytest.raises(UsageError) as caught, other.lock():
        pass
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.BUSY, "out", store.folder)
    with other.lock():
        pass


def test_runs_are_listed_oldest_first(store, cells):
    first = store.write_run(cells[:1], "capsbench run --iters 1")
    second = store.write_run(cells, "capsbench run")
    assert [run.name for run in store.runs()] == [first.name, second.name]
    assert store.runs()[-1].cells == [cell.id for cell in cells]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"name": "x"}', '{"name": "x", "started": "", "command": "", "cells": 5}']
)
def test_a_damaged_note_of_a_run_is_named_and_passed_over(store, cells, content):
    first = store.write_run(cells, "capsbench run")
    store.run_path("0-damaged").write_text(content)
    assert store.runs() == [first]
    runs, (fault,) = store.noted_runs()
    assert runs == [first]
    assert str(store.run_path("0-damaged")) in fault


def test_a_run_knows_its_suite_and_what_was_left_out_of_it(store, cells):
    store.write_run(cells, "capsbench run --suite mine", "mine", {"mnist": "no such file"})
    (run,) = store.runs()
    assert (run.suite, run.left_out) == ("mine", {"mnist": "no such file"})


def test_a_run_that_was_noted_before_there_were_suites_is_read(store, cells):
    run = store.write_run(cells, "capsbench run")
    path = store.folder / "runs" / f"{run.name}.json"
    content = json.loads(path.read_text())
    del content["suite"], content["left_out"]
    path.write_text(json.dumps(content))
    assert store.runs() == [run]


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "results"
    with pytest.raises(UsageError) as caught:
        Store(folder).check_writable()
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.INACCESSIBLE, "out", folder)
