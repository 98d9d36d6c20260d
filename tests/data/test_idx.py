import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from capsbench.data.idx import IMAGES, LABELS, read_idx
from capsbench.errors import UsageError

WriteIDX = Callable[[Path, Any], None]


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
