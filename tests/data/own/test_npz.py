from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capsbench.data.images import ANY_NUMBER, ImageShape
from capsbench.data.own.npz import NpzSet
from capsbench.errors import Kind
from tests.data.faults import usage_error

LABELS = np.arange(20) % 2
GREY = (np.arange(20, dtype=np.uint8)[:, None, None] * np.ones((1, 6, 5), np.uint8)).astype(np.uint8)


def save(tmp_path: Path, **arrays: Any) -> str:
    np.savez(tmp_path / "shapes.npz", **arrays)
    return str(tmp_path / "shapes.npz")


@pytest.mark.parametrize(
    ("images", "shape"),
    [
        (GREY, (1, 6, 5)),
        (GREY[..., None], (1, 6, 5)),
        (GREY[:, None], (1, 6, 5)),
        (GREY[..., None].repeat(3, 3), (3, 6, 5)),
        (GREY[:, None].repeat(3, 1), (3, 6, 5)),
        (GREY[..., None].repeat(4, 3), (4, 6, 5)),
        (GREY / np.float64(255), (1, 6, 5)),
        (GREY.astype(np.int64), (1, 6, 5)),
        (GREY.astype(np.uint16) * 257, (1, 6, 5)),
    ],
)
def test_images_of_any_layout_and_type_have_the_same_pixels(tmp_path: Path, images: Any, shape: Any) -> None:
    shapes = NpzSet(save(tmp_path, images=images, labels=LABELS))
    assert shapes.image == ImageShape(*shape)
    splits = shapes.load(tmp_path)
    pixels = np.concatenate(
        [part.images.numpy()[:, :, 0, 0] for part in (splits.train, splits.validation, splits.test)]
    )
    assert np.allclose(np.sort(pixels, axis=0), np.arange(20)[:, None] / 255, atol=1e-6)


def test_black_and_white_are_0_and_1(tmp_path: Path) -> None:
    images = NpzSet(save(tmp_path, images=GREY % 2 == 1, labels=LABELS)).load(tmp_path).train.images
    assert set(images.flatten().tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (LABELS, ["0", "1"]),
        (LABELS + 1, ["1", "2"]),
        (LABELS * 9 - 2, ["-2", "7"]),
        (LABELS[:, None], ["0", "1"]),
        (LABELS.astype(float), ["0", "1"]),
        (LABELS == 1, ["0", "1"]),
        (np.array(["ring", "bar"])[LABELS], ["bar", "ring"]),
        (np.array([b"ring", b"bar"])[LABELS], ["bar", "ring"]),
    ],
)
def test_labels_are_any_whole_numbers_or_names(tmp_path: Path, labels: Any, names: list[str]) -> None:
    shapes = NpzSet(save(tmp_path, images=GREY, labels=labels))
    assert shapes.class_names == names
    images, found = shapes.load(tmp_path).train
    texts = [value.decode() if isinstance(value, bytes) else str(value) for value in np.ravel(labels).tolist()]
    numbers = (images[:, 0, 0, 0] * 255).round().int().tolist()
    if labels.dtype.kind in "US":
        assert [names[label] for label in found] == [texts[number] for number in numbers]
    else:
        assert found.tolist() == [number % 2 for number in numbers]


@pytest.mark.parametrize("first", [0, 1])
def test_the_file_may_name_the_classes_of_numbers_from_0_or_1(tmp_path: Path, first: int) -> None:
    path = save(tmp_path, images=GREY, labels=LABELS + first, class_names=np.array(["ring", "bar"]))
    assert NpzSet(path).class_names == ["ring", "bar"]


def test_a_part_without_the_last_class_does_not_shift_its_labels(tmp_path: Path) -> None:
    images = {"train_images": GREY, "test_images": GREY[:10]}
    labels = {"train_labels": np.arange(20) % 3 + 1, "test_labels": np.arange(10) % 2 + 1}
    shapes = NpzSet(save(tmp_path, **images, **labels, class_names=np.array(["bar", "cross", "ring"])))
    assert [*shapes.pictures[-2].labels, *shapes.pictures[-1].labels] == ["bar", "cross"]


def test_numbers_from_0_in_one_part_and_from_1_in_another_are_refused(tmp_path: Path) -> None:
    images = {"train_images": GREY, "test_images": GREY}
    labels = {"train_labels": LABELS, "test_labels": LABELS + 1}
    path = save(tmp_path, **images, **labels, class_names=np.array(["bar", "ring"]))
    assert usage_error(NpzSet, path).kind == Kind.DAMAGED


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.dtype(">u2")])
def test_a_dark_part_has_the_white_of_the_others(tmp_path: Path, dtype: Any) -> None:
    light, dark = np.full((20, 6, 5), 65_535, dtype=dtype), np.full((20, 6, 5), 255, dtype=dtype)
    arrays = {"train_images": light, "train_labels": LABELS, "test_images": dark, "test_labels": LABELS}
    splits = NpzSet(save(tmp_path, **arrays)).load(tmp_path)
    assert splits.train.images.numpy().max() == 1
    assert splits.test.images.numpy().max() == np.float32(255 / 65_535)


@pytest.mark.parametrize(
    "names",
    [("train_images", "train_labels", "test_images", "test_labels"), ("x_train", "y_train", "x_test", "y_test")],
)
def test_pairs_by_part_are_a_given_split(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = (GREY, LABELS, GREY[:4], LABELS[:4])
    shapes = NpzSet(save(tmp_path, **dict(zip(names, arrays, strict=True))))
    assert shapes.image_counts == {"train": 18, "validation": 2, "test": 4}


def test_the_arrays_of_medmnist_are_understood(tmp_path: Path) -> None:
    arrays = {f"{part}_{kind}": value for part in ("train", "val", "test")
              for kind, value in (("images", GREY), ("labels", LABELS[:, None]))}  # fmt: skip
    assert NpzSet(save(tmp_path, **arrays)).image_counts == {"train": 20, "validation": 20, "test": 20}


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"images": GREY},
        {"labels": LABELS},
        {"pictures": GREY, "labels": LABELS},
        {"images": GREY, "labels": LABELS, "train_images": GREY, "train_labels": LABELS},
        {"test_images": GREY, "test_labels": LABELS},
        {"images": GREY, "x": GREY, "labels": LABELS},
        {"images": GREY, "labels": LABELS[:5]},
        {"images": GREY[0], "labels": LABELS},
        {"images": GREY.reshape(20, -1), "labels": LABELS},
        {"images": np.zeros((20, 6, 7, 5)), "labels": LABELS},
        {"images": np.zeros((20, 3, 7, 3)), "labels": LABELS},
        {"images": GREY.astype(float), "labels": LABELS},
        {"images": GREY - 1.0, "labels": LABELS},
        {"images": GREY * np.nan, "labels": LABELS},
        {"images": GREY.astype(int) - 1, "labels": LABELS},
        {"images": GREY.astype(int) * 10**6, "labels": LABELS},
        {"images": GREY.astype(complex), "labels": LABELS},
        {"images": GREY, "labels": LABELS / 2},
        {"images": GREY, "labels": np.eye(2)[LABELS] * 2},
        {"images": GREY, "labels": np.eye(2)[LABELS] / 2},
        {"images": GREY, "labels": np.array(["a", "b"])[np.eye(2, dtype=int)[LABELS]]},
        {"images": GREY, "labels": np.eye(2)[LABELS], "class_names": np.array(["a", "b", "c"])},
        {"images": GREY, "labels": np.zeros((20, 2, 2))},
        {"train_images": GREY, "train_labels": np.eye(2)[LABELS], "test_images": GREY, "test_labels": LABELS},
        {"images": GREY, "labels": LABELS * 1j},
        {"images": GREY, "labels": LABELS * 0},
        {"images": GREY, "labels": LABELS, "class_names": np.array(["a"])},
        {"images": GREY, "labels": LABELS, "class_names": np.array(["a", "a"])},
        {"images": GREY, "labels": np.array(["a", "b"])[LABELS], "class_names": np.array(["a", "c"])},
    ],
)
def test_other_arrays_are_refused_in_one_line(tmp_path: Path, arrays: Any) -> None:
    path = save(tmp_path, **arrays)
    error = usage_error(NpzSet, path)
    assert (error.kind, error.flag, error.file) == (Kind.DAMAGED, "dataset", Path(path))


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    path = save(tmp_path, images=GREY, labels=np.array(["ring", "bar"], dtype=object)[LABELS])
    assert "dtype=str" in str(usage_error(NpzSet, path).expected)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"text"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shapes.npz").write_bytes(content)
    assert usage_error(NpzSet, str(tmp_path / "shapes.npz")).kind is Kind.DAMAGED


def test_one_array_alone_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "shapes.npy", GREY)
    assert usage_error(NpzSet, str(tmp_path / "shapes.npy")).kind is Kind.DAMAGED


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.npz"):
        assert usage_error(NpzSet, str(path)).kind is Kind.MISSING


def test_arrays_are_resized_too(tmp_path: Path) -> None:
    shapes = NpzSet(save(tmp_path, images=GREY / np.float32(255), labels=LABELS), resize="3x4")
    assert shapes.load(tmp_path).test.images.shape == (4, 1, 3, 4)


MASK = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]])[np.arange(20) % 4]


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, float])
def test_a_matrix_of_labels_is_any_number_of_classes_an_image(tmp_path: Path, kind: type) -> None:
    shapes = NpzSet(save(tmp_path, images=GREY, labels=MASK.astype(kind), class_names=np.array(["a", "b", "c"])))
    assert (shapes.labels_an_image, shapes.class_names) == (ANY_NUMBER, ["a", "b", "c"])
    images, labels = shapes.load(tmp_path).train
    rows = (images[:, 0, 0, 0] * 255).round().long()
    assert labels.tolist() == (MASK[rows.numpy()] == 1).tolist()
    assert shapes.facts == {"shape": "1x6x5", "labels": "any number", "0": "a", "1": "b", "2": "c"}


def test_classes_of_a_matrix_are_numbers_without_names_and_those_of_no_image_are_left_out(tmp_path: Path) -> None:
    assert NpzSet(save(tmp_path, images=GREY, labels=np.insert(MASK, 1, 0, axis=1))).class_names == ["0", "2", "3"]
