from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from capsbench.data.base import load_splits
from capsbench.data.sets.svhn import SVHN
from capsbench.errors import Kind
from tests.data.faults import damage, missing_file, usage_error

FILES = ("train_32x32.mat", "test_32x32.mat")

pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 training images and 20 test images."""
    monkeypatch.setattr(SVHN, "counts", (100, 20))
    monkeypatch.setattr(SVHN, "validation", 20)


def write(path: Path, count: int, **changed: Any) -> None:
    """A file as published: ``X[row, column, colour, image]`` and ``y[image, 0]``, where 10 stands for the digit 0.

    Image i shows the digit i modulo 10, and its values are i plus the number of the colour.
    """
    numbers = np.arange(count)
    pixels = np.broadcast_to(numbers + np.arange(3)[:, None], (32, 32, 3, count)).astype(np.uint8)
    digits = np.where(numbers % 10, numbers % 10, 10).astype(np.uint8)[:, None]
    content = {"X": pixels, "y": digits} | changed
    savemat(path, {name: value for name, value in content.items() if value is not None}, do_compression=True)


def write_both(folder: Path) -> None:
    for file, count in zip(FILES, (100, 20), strict=True):
        write(folder / file, count)


def test_digits_keep_their_labels_and_ten_is_zero(tmp_path: Path) -> None:
    write_both(tmp_path)
    splits = load_splits("svhn", tmp_path)
    assert {name: tuple(part.images.shape) for name, part in splits.by_name().items()} == {
        "train": (80, 3, 32, 32),
        "validation": (20, 3, 32, 32),
        "test": (20, 3, 32, 32),
    }
    assert splits.test.labels.tolist() == [*range(10)] * 2
    test = splits.test.images.mul(255).round()
    assert test[:, :, 31, 0].tolist() == [[i, i + 1.0, i + 2.0] for i in range(20)]
    numbers = torch.cat([splits.train.images, splits.validation.images])[:, 0, 0, 0].mul(255).round().long()
    assert sorted(numbers.tolist()) == list(range(100))
    assert (numbers % 10).equal(torch.cat([splits.train.labels, splits.validation.labels]))
    assert splits.validation.labels.bincount().tolist() == [2] * 10


@pytest.mark.usefixtures("read_here")
def test_rows_columns_and_colours_are_told_apart(tmp_path: Path) -> None:
    write_both(tmp_path)
    pixels = np.zeros((32, 32, 3, 20), np.uint8)
    pixels[5, 9, 2, 4] = 255
    write(tmp_path / FILES[1], 20, X=pixels)
    test = SVHN().load(tmp_path).test.images
    assert test.nonzero().tolist() == [[4, 2, 5, 9]]
    assert test.is_contiguous()


@pytest.mark.usefixtures("read_here")
def test_digits_are_shifted_and_never_mirrored(tmp_path: Path) -> None:
    write_both(tmp_path)
    assert SVHN.shift == 4
    assert SVHN().load(tmp_path).augmentations == ()


def test_without_network_the_file_to_put_there_is_named(tmp_path: Path) -> None:
    write(tmp_path / FILES[0], 100)
    assert missing_file(SVHN().load, tmp_path) == tmp_path / FILES[1]


@pytest.mark.usefixtures("read_here")
def test_the_test_set_in_the_place_of_the_training_set(tmp_path: Path) -> None:
    write_both(tmp_path)
    (tmp_path / FILES[0]).write_bytes((tmp_path / FILES[1]).read_bytes())
    assert damage(SVHN().load, tmp_path) == (tmp_path / FILES[0], 20)


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.2, 0.6, 0.99])
def test_a_truncated_file_is_named(tmp_path: Path, keep: float) -> None:
    write_both(tmp_path)
    path = tmp_path / FILES[0]
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    assert damage(SVHN().load, tmp_path) == (path, path.stat().st_size)


def test_a_file_whose_bytes_were_changed(tmp_path: Path) -> None:
    write_both(tmp_path)
    path = tmp_path / FILES[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert damage(SVHN().load, tmp_path) == (path, len(content))


def test_a_web_page_in_the_place_of_a_file(tmp_path: Path) -> None:
    write_both(tmp_path)
    (tmp_path / FILES[1]).write_text("<html>404</html>" * 20)
    assert damage(SVHN().load, tmp_path) == (tmp_path / FILES[1], 320)


@pytest.mark.usefixtures("read_here")
@pytest.mark.parametrize(
    ("changed", "wrong", "found"),
    [
        ({"X": None}, "X", "nothing"),
        ({"y": None}, "y", "nothing"),
        ({"X": np.zeros((32, 32, 3, 19), np.uint8)}, "X", "uint8 [32, 32, 3, 19]"),
        ({"X": np.zeros((20, 3, 32, 32), np.uint8)}, "X", "uint8 [20, 3, 32, 32]"),
        ({"X": np.zeros((32, 32, 3, 20))}, "X", "float64 [32, 32, 3, 20]"),
        ({"y": np.ones((1, 20), np.uint8)}, "y", "uint8 [1, 20]"),
        ({"y": np.arange(20, dtype=np.uint8)[:, None]}, "labels", 0),
        ({"y": np.full((20, 1), 11, np.uint8)}, "labels", 11),
        (
            {"X": np.ones((20, 1), np.uint8), "y": np.zeros((32, 32, 3, 20), np.uint8)},
            "y",
            "uint8 [32, 32, 3, 20]",
        ),
    ],
)
def test_a_file_of_another_content(tmp_path: Path, changed: dict[str, Any], wrong: str, found: object) -> None:
    write_both(tmp_path)
    write(tmp_path / FILES[1], 20, **changed)
    error = usage_error(SVHN().load, tmp_path)
    assert (error.kind, error.file, error.value) == (Kind.DAMAGED, tmp_path / FILES[1], found)
    assert wrong in error.problem.split()
