import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from capsbench.data.idx import FILES, IMAGES, LABELS, read_idx
from capsbench.data.mnist import MNIST
from capsbench.errors import UsageError

WriteIDX = Callable[[Path, Any], None]
WriteSet = Callable[..., None]


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_images_and_labels_are_read_compressed_or_not(tmp_path: Path, write_idx: WriteIDX, name: str) -> None:
    write_idx(tmp_path / name, [[[0, 1, 2], [3, 4, 255]]])
    assert read_idx(tmp_path / name, IMAGES).equal(torch.tensor([[[0, 1, 2], [3, 4, 255]]], dtype=torch.uint8))
    write_idx(tmp_path / name, [7, 2, 1])
    assert read_idx(tmp_path / name, LABELS).tolist() == [7, 2, 1]


def damaged(path: Path, magic: int = IMAGES) -> str:
    """The line that a damaged file gets."""
    with pytest.raises(UsageError) as error:
        read_idx(path, magic)
    line = str(error.value)
    assert line.startswith(str(path))
    assert line.endswith("delete it to have it downloaded again, or put a whole one there")
    assert "\n" not in line
    return line


def test_a_truncated_file_is_told_from_its_header(tmp_path: Path, write_idx: WriteIDX) -> None:
    path = tmp_path / "images"
    write_idx(path, torch.zeros(5, 28, 28))
    path.write_bytes(path.read_bytes()[:-1])
    assert "its header promises 5 x 28 x 28 images, so 3936 bytes, found 3935" in damaged(path)


def test_a_file_that_is_too_long_is_no_better(tmp_path: Path, write_idx: WriteIDX) -> None:
    path = tmp_path / "labels"
    write_idx(path, [1, 2, 3])
    path.write_bytes(path.read_bytes() + b"\0")
    assert "its header promises 3 labels, so 11 bytes, found 12" in damaged(path, LABELS)


def test_labels_where_images_should_be(tmp_path: Path, write_idx: WriteIDX) -> None:
    write_idx(tmp_path / "images", [1, 2, 3])
    expected = (
        "expected an IDX file of images (magic number 2051), found magic number 2049, that of labels, in 11 bytes"
    )
    assert expected in damaged(tmp_path / "images")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "found magic number 0, in 0 bytes"),
        (b"\0\0\x08\x03\0\0\0\x01", "found magic number 2051, in 8 bytes"),
        (b"<html>404</html>", f"found magic number {int.from_bytes(b'<htm', 'big')}, in 16 bytes"),
    ],
)
def test_a_file_without_a_header(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "images").write_bytes(content)
    assert found in damaged(tmp_path / "images")


ARCHIVE = gzip.compress(bytes(999), mtime=0)


@pytest.mark.parametrize(
    "content",
    [b"", ARCHIVE[:-9], ARCHIVE[:10] + b"\xff" * 20, b"<html>404</html>"],
    ids=["empty", "truncated", "not deflated", "a web page"],
)
def test_a_damaged_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "images.gz").write_bytes(content)
    assert str(len(content)) in damaged(tmp_path / "images.gz")


def test_an_archive_whose_bytes_were_changed(tmp_path: Path, write_idx: WriteIDX) -> None:
    path = tmp_path / "images.gz"
    write_idx(path, torch.arange(4 * 28 * 28).reshape(4, 28, 28) % 251)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert "cannot be read" in damaged(path)


def line(folder: Path) -> str:
    """What a data folder that cannot be loaded gets."""
    with pytest.raises(UsageError) as error:
        MNIST().load(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_compressed_and_other_files_may_be_mixed(tmp_path: Path, write_set: WriteSet) -> None:
    write_set(tmp_path / "plain" / "MNIST" / "raw")
    write_set(tmp_path / "mixed" / "MNIST" / "raw", suffix=".gz")
    compressed = tmp_path / "mixed" / "MNIST" / "raw" / f"{FILES[0]}.gz"
    compressed.with_suffix("").write_bytes(gzip.decompress(compressed.read_bytes()))
    compressed.unlink()
    plain, mixed = (MNIST().load(tmp_path / folder).named() for folder in ("plain", "mixed"))
    for name, part in plain.items():
        assert part.images.equal(mixed[name].images)
        assert part.labels.equal(mixed[name].labels)


def test_damaged_files_are_named(tmp_path: Path, write_set: WriteSet) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    path = raw / FILES[2]
    path.write_bytes(path.read_bytes()[:1000])
    assert line(tmp_path).startswith(f"{path}: its header promises 20 x 28 x 28 images, so 15696 bytes, found 1000")


def test_images_and_labels_swapped(tmp_path: Path, write_set: WriteSet) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    (raw / FILES[0]).rename(raw / "aside")
    (raw / FILES[1]).rename(raw / FILES[0])
    (raw / "aside").rename(raw / FILES[1])
    assert "found magic number 2049, that of labels" in line(tmp_path)


def test_training_labels_with_test_images(tmp_path: Path, write_set: WriteSet) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    (raw / FILES[0]).write_bytes((raw / FILES[2]).read_bytes())
    assert (
        f"{FILES[0]}: expected an image of 28x28 pixels for each of the 100 labels in {FILES[1]}, found 20 x 28 x 28"
        in line(tmp_path)
    )


def test_the_test_set_in_the_place_of_the_training_set(tmp_path: Path, write_set: WriteSet) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    for test, train in zip(FILES[2:], FILES[:2], strict=True):
        (raw / train).write_bytes((raw / test).read_bytes())
    assert line(tmp_path).startswith(f"{raw / FILES[1]}: expected 100 labels, as published, found 20")


def test_images_of_another_size(tmp_path: Path, write_set: WriteSet, write_idx: WriteIDX) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    write_idx(raw / FILES[0], np.zeros((100, 40, 40)))
    assert "found 100 x 40 x 40" in line(tmp_path)


def test_labels_that_are_no_classes(tmp_path: Path, write_set: WriteSet, write_idx: WriteIDX) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    write_idx(raw / FILES[3], np.arange(20))
    assert line(tmp_path).startswith(f"{raw / FILES[3]}: expected labels from 0 to 9, found 19")
