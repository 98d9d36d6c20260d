"""Files of tensors beside records, and what is said of those that cannot be read."""

import contextlib
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save

from capsbench.errors import Kind, UsageError
from capsbench.measures.accuracy.spec import TEST_ACCURACY
from capsbench.records.artifacts import (
    are_correct,
    check_predictions,
    find_damaged_kept,
    find_unreadable_kept,
    read_arrays,
    read_sealed,
    read_weights,
    write_sealed,
    write_tensors,
)
from capsbench.records.record import Measurement, Row
from capsbench.records.store import Store
from tests.making import make_capsules, make_record


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def record(store):
    """A record with a whole file of what the accuracy kept."""
    made = make_record(make_capsules())
    kept = store.write_tensors(store.kept_path("accuracy", made.cell.id), {"label": torch.arange(3)})
    made.measures["accuracy"] = Measurement(kept=kept)
    return made


@pytest.fixture
def path(store, record):
    return store.kept_path("accuracy", record.cell.id)


def shut(path, monkeypatch):
    """As another user's file is whose mode is 0600; the superuser, whom tests may run as, can read everything."""
    open_ = os.open

    def refuse(name, *arguments, **settings):
        if name == path:
            raise PermissionError(13, "Permission denied")
        return open_(name, *arguments, **settings)

    monkeypatch.setattr(os, "open", refuse)


def cut(path, monkeypatch):
    path.write_bytes(path.read_bytes()[:-8])


def replace_by_folder(path, monkeypatch):
    path.unlink()
    path.mkdir()


SPOILED = [(shut, Kind.INACCESSIBLE), (cut, Kind.DAMAGED), (replace_by_folder, Kind.INACCESSIBLE)]


@pytest.mark.parametrize(("spoil", "kind"), SPOILED)
def test_a_kept_file_that_cannot_be_read_is_named(store, record, path, monkeypatch, spoil, kind):
    assert find_unreadable_kept(store.folder, [record]) == []
    spoil(path, monkeypatch)
    (error,) = find_unreadable_kept(store.folder, [record])
    assert (error.kind, error.file) == (kind, path)
    (line,) = store.list_unreadable([record])
    assert line.startswith(str(path))
    assert store.kept(record, "accuracy") == {}


def test_what_is_not_there_is_no_fault(store, record, path):
    path.unlink()
    assert store.list_unreadable([record]) == []
    shutil.rmtree(store.folder / "kept")
    assert store.list_unreadable([record]) == []


def test_numbers_between_two_networks_that_cannot_be_read_are_named(store):
    one, other = (make_record(make_capsules(seed=seed)) for seed in (0, 1))
    taken = Measurement([Row("transfer", "accuracy", one.cell.id, 0.5, "fraction")])
    store.write_between("transfer", one.cell.id, other.cell.id, taken)
    assert store.list_unreadable([one, other]) == []
    path = store.between_path("transfer", one.cell.id, other.cell.id)
    cut(path, None)
    (line,) = store.list_unreadable([one, other])
    assert line.startswith(str(path))
    assert store.list_unreadable([one]) == []


def test_weights_come_back_and_say_what_is_wrong_with_them(tmp_path, monkeypatch):
    path = tmp_path / "weights" / "one.safetensors"
    digest = write_tensors(path, {"weight": torch.eye(2).T})
    assert torch.equal(read_weights(path, digest)["weight"], torch.eye(2))
    assert read_arrays(path, digest)["weight"].tolist() == [[1, 0], [0, 1]]
    with pytest.raises(UsageError) as caught:
        read_weights(path, "0" * 64)
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path)
    with pytest.raises(UsageError) as caught:
        read_weights(tmp_path / "none", None)
    assert caught.value.kind is Kind.MISSING


@pytest.mark.parametrize("read", [read_weights, read_arrays])
def test_a_file_without_a_digest_that_holds_no_tensors_is_damaged(tmp_path, read):
    path = tmp_path / "one.safetensors"
    path.write_bytes(save({"weight": torch.eye(2)})[:-8])
    with pytest.raises(UsageError) as caught:
        read(path, None)
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path)
    assert "\n" not in caught.value.problem


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_arrays_of_a_type_that_numpy_lacks_are_named(store, record, path, dtype):
    path.write_bytes(save({"label": torch.zeros(3).to(dtype)}))
    (error,) = find_unreadable_kept(store.folder, [record])
    assert (error.kind, error.file) == (Kind.DAMAGED, path)
    assert store.kept(record, "accuracy") == {}


@pytest.mark.parametrize(
    ("accuracy", "fits"), [(0.75, True), (0.75 + 0.24 / 8, True), (0.75 - 0.26 / 8, False), (0.75 + 0.26 / 8, False)]
)
def test_predictions_fit_the_accuracy_on_record_up_to_a_quarter_of_an_image(path, accuracy, fits):
    arrays = {"label": np.arange(8), "prediction": np.array([0, 1, 2, 3, 4, 5, 0, 0])}
    rows = [Row(*TEST_ACCURACY, accuracy, "fraction"), Row("accuracy", "accuracy", "validation", 0.1, "fraction")]
    if fits:
        check_predictions(path, rows, arrays)
        return
    with pytest.raises(UsageError) as caught:
        check_predictions(path, rows, arrays)
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"label": np.arange(3), "prediction": np.arange(4)},
        {"label": np.zeros((2, 2, 2)), "prediction": np.zeros((2, 2, 2))},
        {"label": np.zeros(0), "prediction": np.zeros(0)},
    ],
)
def test_predictions_of_another_shape_than_their_labels_are_damaged(path, arrays):
    with pytest.raises(UsageError) as caught:
        check_predictions(path, [], arrays)
    assert caught.value.kind == Kind.DAMAGED
    check_predictions(path, [], {"label": arrays["label"]})  # no predictions are kept


@pytest.mark.parametrize(("accuracy", "fits"), [(2 / 3, True), (1.0, False)])
def test_predictions_of_two_labels_an_image_fit_the_share_of_images_with_both(path, accuracy, fits):
    arrays = {"label": np.array([[1, 0], [2, 3], [5, 4]]), "prediction": np.array([[0, 1], [2, 3], [4, 6]])}
    expectation = contextlib.nullcontext() if fits else pytest.raises(UsageError, match="2 of its 3 predictions")
    with expectation:
        check_predictions(path, [Row(*TEST_ACCURACY, accuracy, "fraction")], arrays)


def test_an_image_of_several_labels_needs_all_of_them():
    labels = np.array([[2, 1], [0, 3]])
    assert are_correct(np.array([[1, 2], [0, 2]]), labels).tolist() == [True, False]
    assert are_correct(np.array([[1, 3], [1, 3]]), labels).tolist() == [False, False]
    of_networks = np.array([[[1, 2], [0, 3]], [[1, 2], [1, 3]], [[0, 2], [0, 3]]])
    assert are_correct(of_networks, labels).tolist() == [[True, True], [True, False], [False, True]]
    assert are_correct(np.array([[1, 0], [1, 2]]), np.array([1, 2])).tolist() == [[True, False], [True, True]]


def test_kept_files_that_changed_are_found_by_their_measure(store, record, path):
    assert find_damaged_kept(store.folder, record, ["accuracy", "speed"]) == {}
    cut(path, None)
    assert find_damaged_kept(store.folder, record, ["accuracy", "speed"]) == {"accuracy": path}
    path.unlink()
    assert find_damaged_kept(store.folder, record, ["accuracy"]) == {}  # it is missing, not damaged


def test_every_byte_of_a_file_with_a_digest_in_it_counts(tmp_path):
    path = tmp_path / "sealed.safetensors"
    texts = {"first": 'a "digest":"' + "0" * 64 + '" of nothing', "second": "ü"}
    write_sealed(path, {"weight": torch.arange(3.0)}, texts)
    content = path.read_bytes()
    tensors, read = read_sealed(path)
    assert torch.equal(tensors["weight"], torch.arange(3.0))
    assert {name: read[name] for name in texts} == texts
    for index in range(len(content)):
        path.write_bytes(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :])
        with pytest.raises(ValueError, match=r"sealed.safetensors: "):
            read_sealed(path)
