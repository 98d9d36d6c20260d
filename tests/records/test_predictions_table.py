"""`capsbench.predictions`: one row = one cell x one test image, from what records keep."""

from dataclasses import replace

import pytest
import torch

import capsbench as python_api
from capsbench.errors import Kind, UsageError
from capsbench.records.record import Row
from capsbench.records.store import Store
from capsbench.records.table import COLUMNS, IMAGE_COLUMNS
from tests.making import make_capsules, make_failed, make_record


@pytest.fixture
def keep(tmp_path):
    """Puts a cell on record whose measure accuracy kept these labels and predictions."""
    store = Store(tmp_path)

    def write(labels, predictions, accuracy, **fields):
        made = make_record(make_capsules(**fields), [Row("accuracy", "accuracy", "test", accuracy, "fraction")])
        tensors = {"label": torch.tensor(labels), "prediction": torch.tensor(predictions)}
        tensors["nll"] = torch.arange(len(labels)).float()
        artifact = store.write_tensors(store.kept_path("accuracy", made.cell.id), tensors)
        made.measures["accuracy"] = replace(made.measures["accuracy"], kept=artifact)
        store.write(made)
        return made.cell

    return write


def test_each_image_of_each_cell_is_a_row(keep, tmp_path):
    cells = [keep([0, 1, 2], [0, 1, 1], 2 / 3, seed=0), keep([0, 1, 2], [2, 1, 2], 2 / 3, seed=1, routing="dynamic")]
    table = python_api.predictions(tmp_path)
    assert list(table) == [*COLUMNS, *IMAGE_COLUMNS]
    for cell, predicted in zip(cells, ([0, 1, 1], [2, 1, 2]), strict=True):
        rows = table[table["cell"] == cell.id]
        assert rows["image"].tolist() == [0, 1, 2]
        assert rows["label"].tolist() == [0, 1, 2]
        assert rows["prediction"].tolist() == predicted
        assert rows["correct"].tolist() == [label == other for label, other in zip([0, 1, 2], predicted, strict=True)]
        assert rows["nll"].tolist() == [0, 1, 2]
        assert set(zip(rows["routing"], rows["seed"], strict=True)) == {(cell.routing, cell.seed)}


def test_images_of_several_labels_have_tuples(keep, tmp_path):
    keep([[3, 1], [4, 5]], [[1, 3], [4, 9]], 0.5)
    table = python_api.predictions(tmp_path)
    assert table["label"].tolist() == [(1, 3), (4, 5)]
    assert table["prediction"].tolist() == [(1, 3), (4, 9)]
    assert table["correct"].tolist() == [True, False]


def test_cells_without_predictions_have_no_rows(keep, tmp_path):
    kept = keep([0, 1], [0, 1], 1.0, seed=0)
    Store(tmp_path).write(make_record(make_capsules(seed=1), [Row("accuracy", "accuracy", "test", 0.5, "fraction")]))
    Store(tmp_path).write(make_record(make_capsules(seed=2)))
    Store(tmp_path).write(make_failed(make_capsules(seed=3)))
    assert set(python_api.predictions(tmp_path)["cell"]) == {kept.id}


def test_a_folder_without_any_gives_an_empty_table(tmp_path):
    Store(tmp_path).write(make_record(make_capsules()))
    table = python_api.predictions(tmp_path)
    assert table.empty
    assert list(table) == [*COLUMNS, *IMAGE_COLUMNS]


def test_changed_predictions_are_named(keep, tmp_path):
    cell = keep([0, 1], [0, 1], 1.0)
    path = Store(tmp_path).kept_path("accuracy", cell.id)
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(UsageError) as caught:
        python_api.predictions(tmp_path)
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path)


def test_what_is_no_folder_of_records_says_so(tmp_path):
    with pytest.raises(UsageError) as caught:
        python_api.predictions(tmp_path / "typo")
    assert (caught.value.kind, caught.value.file) == (Kind.MISSING, tmp_path / "typo")
