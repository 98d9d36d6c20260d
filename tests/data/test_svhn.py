from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from capsbench.data.base import load_splits
from capsbench.data.svhn import SVHN
from capsbench.errors import UsageError

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


def line(folder: Path) -> str:
    """What a data folder that cannot be loaded gets."""
    with pytest.raises(UsageError) as error:
        SVHN().load(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_digits_keep_their_labels_and_ten_is_zero(tmp_path: Path) -> None:
    write_both(tmp_path)
    splits = load_splits("svhn", tmp_path)
    assert {name: tuple(part.images.shape) for name, part in splits.named().items()} == {
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


def test_rows_columns_and_colours_are_told_apart(tmp_path: Path) -> None:
    write_both(tmp_path)
    pixels = np.zeros((32, 32, 3, 20), np.uint8)
    pixels[5, 9, 2, 4] = 255
    write(tmp_path / FILES[1], 20, X=pixels)
    test = SVHN().load(tmp_path).test.images
    assert test.nonzero().tolist() == [[4, 2, 5, 9]]
    assert test.is_contiguous()


def test_digits_are_shifted_and_never_mirrored(tmp_path: Path) -> None:
    write_both(tmp_path)
    assert SVHN.shift == 4
    assert SVHN().load(tmp_path).augmentations == ()


def test_without_network_one_line_says_which_file_to_put_where(tmp_path: Path) -> None:
    write(tmp_path / FILES[0], 100)
    assert f"put the file at {tmp_path / FILES[1]} by hand" in line(tmp_path)


def test_the_test_set_in_the_place_of_the_training_set(tmp_path: Path) -> None:
    write_both(tmp_path)
    (tmp_path / FILES[0]).write_bytes((tmp_path / FILES[1]).read_bytes())
    assert line(tmp_path).startswith(f"{tmp_path / FILES[0]}: expected 100 labels, as published, found 20")


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.2, 0.6, 0.99])
def test_a_truncated_file_is_named(tmp_path: Path, keep: float) -> None:
    write_both(tmp_path)
    path = tmp_path / FILES[0]
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    message = line(tmp_path)
    assert message.startswith(str(path))
    assert message.endswith("; delete it to have it downloaded again, or put a whole one there")


def test_a_file_whose_bytes_were_changed(tmp_path: Path) -> None:
    write_both(tmp_path)
    path = tmp_path / FILES[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert line(tmp_path).startswith(f"{path} ({len(content)} bytes) cannot be read: ")


def test_a_web_page_in_the_place_of_a_file(tmp_path: Path) -> None:
    write_both(tmp_path)
    (tmp_path / FILES[1]).write_text("<html>404</html>" * 20)
    assert line(tmp_path).startswith(f"{tmp_path / FILES[1]} (320 bytes) cannot be read: ")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"X": None}, "expected X of uint8 [32, 32, 3, 20], found nothing"),
        ({"y": None}, "expected y of uint8 [N, 1], found nothing"),
        (
            {"X": np.zeros((32, 32, 3, 19), np.uint8)},
            "expected X of uint8 [32, 32, 3, 20], found uint8 [32, 32, 3, 19]",
        ),
        (
            {"X": np.zeros((20, 3, 32, 32), np.uint8)},
            "expected X of uint8 [32, 32, 3, 20], found uint8 [20, 3, 32, 32]",
        ),
        ({"X": np.zeros((32, 32, 3, 20))}, "expected X of uint8 [32, 32, 3, 20], found float64 [32, 32, 3, 20]"),
        ({"y": np.ones((1, 20), np.uint8)}, "expected y of uint8 [N, 1], found uint8 [1, 20]"),
        ({"y": np.arange(20, dtype=np.uint8)[:, None]}, "expected labels from 1 to 10, found 0"),
        ({"y": np.full((20, 1), 11, np.uint8)}, "expected labels from 1 to 10, found 11"),
        ({"X": np.ones((20, 1), np.uint8), "y": np.zeros((32, 32, 3, 20), np.uint8)}, "expected y of uint8 [N, 1]"),
    ],
)
def test_a_file_of_another_content(tmp_path: Path, changed: dict[str, Any], expected: str) -> None:
    write_both(tmp_path)
    write(tmp_path / FILES[1], 20, **changed)
    message = line(tmp_path)
    assert message.startswith(f"{tmp_path / FILES[1]}: ")
    assert expected in message
