"""Kept predictions are those of their record: right as often as it says, or they are named and left out."""

from dataclasses import replace

import pytest
import torch

from capsbench.errors import Kind, UsageError
from capsbench.records.artifacts import read_kept
from capsbench.records.record import Artifact, Row
from capsbench.records.store import Store
from capsbench.reporting.build import report
from tests.making import make_capsules, make_record


def kept_of(store, right, seed=0, images=10):
    """A record with an accuracy of 0.8, which kept predictions of which so many are right."""
    made = make_record(make_capsules(seed=seed), [Row("accuracy", "accuracy", "test", 0.8, "fraction")])
    labels = torch.arange(images, dtype=torch.int32) % 10
    predictions = torch.where(torch.arange(images) < right, labels, (labels + 1) % 10)
    path = store.kept_path("accuracy", made.cell.id)
    artifact = store.write_tensors(path, {"label": labels, "prediction": predictions})
    made.measures["accuracy"] = replace(made.measures["accuracy"], kept=artifact)
    return made


@pytest.mark.parametrize("right", [0, 7, 9, 10])
@pytest.mark.parametrize("known", [True, False])
def test_predictions_of_another_accuracy_are_refused_whether_their_digest_is_known_or_not(tmp_path, right, known):
    store = Store(tmp_path)
    made = kept_of(store, right)
    if not known:
        artifact = Artifact(made.measures["accuracy"].kept.path)
        made.measures["accuracy"] = replace(made.measures["accuracy"], kept=artifact)
    with pytest.raises(UsageError) as caught:
        read_kept(tmp_path, made.measures["accuracy"])
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, store.kept_path("accuracy", made.cell.id))
    assert store.kept(made, "accuracy") == {}
    assert len(store.list_unreadable([made])) == 1


def test_those_of_the_record_are_read(tmp_path):
    store = Store(tmp_path)
    made = kept_of(store, 8)
    assert store.kept(made, "accuracy")["label"].tolist() == [*range(10)]
    assert store.list_unreadable([made]) == []


@pytest.mark.parametrize("shape", [(9,), (10, 2), (1, 10), ()])
def test_predictions_of_another_number_of_images_are_refused(tmp_path, shape):
    store = Store(tmp_path)
    made = kept_of(store, 8)
    tensors = {"label": torch.arange(10), "prediction": torch.zeros(shape, dtype=torch.int64)}
    artifact = store.write_tensors(store.kept_path("accuracy", made.cell.id), tensors)
    made.measures["accuracy"] = replace(made.measures["accuracy"], kept=artifact)
    with pytest.raises(UsageError) as caught:
        read_kept(tmp_path, made.measures["accuracy"])
    assert caught.value.kind is Kind.DAMAGED


def test_a_report_with_predictions_of_another_network_names_the_file_and_says_what_the_record_says(tmp_path):
    store = Store(tmp_path / "results")
    records = [kept_of(store, 8, seed) for seed in range(3)]
    for made in records:
        store.write(made)
    before = report(store.folder, formats=["csv"])
    one, other = (store.kept_path("accuracy", made.cell.id) for made in records[:2])
    one.write_bytes(kept_bytes(tmp_path, right=1))
    after = report(store.folder, formats=["csv"])
    assert (len(before.faults), len(after.faults)) == (0, 1)
    assert str(one) in after.faults[0]
    assert str(other) not in after.faults[0]
    assert (
        after.summary["accuracy_percent"].tolist() == before.summary["accuracy_percent"].tolist() == [pytest.approx(80)]
    )


def kept_bytes(folder, right):
    store = Store(folder / "elsewhere")
    made = kept_of(store, right)
    return store.kept_path("accuracy", made.cell.id).read_bytes()


def test_predictions_that_fit_one_of_two_accuracies_are_refused(tmp_path):
    store = Store(tmp_path)
    made = kept_of(store, 8)
    taken = made.measures["accuracy"]
    twice = replace(taken, rows=[*taken.rows, Row("accuracy", "accuracy", "test", 0.99, "fraction", 1.0)])
    with pytest.raises(UsageError) as caught:
        read_kept(tmp_path, twice)
    assert caught.value.kind is Kind.DAMAGED


def test_predictions_of_another_shape_are_refused_without_an_accuracy_too(tmp_path):
    store = Store(tmp_path)
    made = kept_of(store, 8)
    tensors = {"label": torch.tensor(3), "prediction": torch.tensor(3)}
    artifact = store.write_tensors(store.kept_path("accuracy", made.cell.id), tensors)
    with pytest.raises(UsageError) as caught:
        read_kept(tmp_path, replace(made.measures["accuracy"], rows=[], kept=artifact))
    assert caught.value.kind is Kind.DAMAGED
