import gzip
from pathlib import Path
from types import SimpleNamespace

import pytest
from sklearn.datasets import load_digits

from capsbench.data.base import load_splits
from capsbench.data.sets import digits
from capsbench.errors import Kind
from capsbench.records.parts import open_dataset
from tests.data.faults import usage_error


def test_digits_are_split_once_and_for_all_and_stratified() -> None:
    splits = load_splits("digits", Path("nowhere"))
    parts = splits.by_name()
    shapes = {name: tuple(part.images.shape) for name, part in parts.items()}
    assert shapes == {"train": (1097, 1, 8, 8), "validation": (200, 1, 8, 8), "test": (500, 1, 8, 8)}
    for part in parts.values():
        share = part.labels.bincount() / len(part.labels)
        assert (share - 0.1).abs().max() < 0.01
    again = load_splits("digits", Path("nowhere")).by_name()
    assert all(part.images.equal(again[name].images) for name, part in parts.items())


def test_every_digit_is_in_one_split_with_its_own_label() -> None:
    pixels, labels = load_digits(return_X_y=True)
    published = sorted((tuple(image / 16), int(label)) for image, label in zip(pixels, labels, strict=True))
    found = sorted(
        (tuple(image.flatten().tolist()), int(label))
        for part in load_splits("digits", Path("nowhere")).by_name().values()
        for image, label in zip(part.images, part.labels, strict=True)
    )
    assert found == published


def test_ten_digits_are_one_of_each_class() -> None:
    train = load_splits("digits", Path("nowhere"), train_size=10, seed=5).train
    assert sorted(train.labels.tolist()) == list(range(10))


def test_other_digits_than_the_published_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / digits.FILE
    monkeypatch.setattr(digits, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    assert usage_error(digits.Digits().load, tmp_path).file == path
    path.parent.mkdir(parents=True)
    for content in (b"", b"text", gzip.compress(b"0,0,1\n")):
        path.write_bytes(content)
        error = usage_error(digits.Digits().load, tmp_path)
        assert (error.file, error.expected) == (path, digits.REMEDY)
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    assert usage_error(digits.Digits().load, tmp_path).kind is Kind.MISSING


def test_its_counts_are_known_before_it_is_loaded():
    splits = load_splits("digits", Path())
    assert digits.Digits.image_counts == {part: len(images.labels) for part, images in splits.by_name().items()}


@pytest.mark.parametrize(
    ("name", "counts"),
    [("mnist", (55_000, 5_000, 10_000)), ("cifar10", (45_000, 5_000, 10_000)), ("svhn", (68_257, 5_000, 26_032))],
)
def test_the_counts_of_published_sets_leave_validation_images_out_of_training(name, counts):
    assert tuple(open_dataset(name).image_counts.values()) == counts
