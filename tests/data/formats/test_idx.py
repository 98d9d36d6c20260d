import gzip
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from capsbench.data.formats.idx import FILES, IMAGES, LABELS, read_idx
from capsbench.data.sets.mnist import MNIST
from tests.data.faults import damage

WriteIDX = Callable[[Path, Any], None]
WriteSet = Callable[..., None]


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_images_and_labels_are_read_compressed_or_not(tmp_path: Path, write_idx: WriteIDX, name: str) -> None:
    write_idx(tmp_path / name, [[[0, 1, 2], [3, 4, 255]]])
    assert read_idx(tmp_path / name, IMAGES).equal(torch.tensor([[[0, 1, 2], [3, 4, 255]]], dtype=torch.uint8))
    write_idx(tmp_path / name, [7, 2, 1])
    assert read_idx(tmp_path / name, LABELS).tolist() == [7, 2, 1]


def test_a_truncated_file_is_told_from_its_header(tmp_path: Path, write_idx: WriteIDX) -> None:
    path = tmp_path / "images"
    write_idx(path, torch.zeros(5, 28, 28))
    path.write_bytes(path.read_bytes()[:-1])
    assert damage(read_idx, path, IMAGES) == (path, 3935)


def test_a_file_that_is_too_long_is_no_better(tmp_path: Path, write_idx: WriteIDX) -> None:
    path = tmp_path / "labels"
    write_idx(path, [1, 2, 3])
    path.write_bytes(path.read_bytes() + b"\0")
    assert damage(read_idx, path, LABELS) == (path, 12)


def test_labels_where_images_should_be(tmp_path: Path, write_idx: WriteIDX) -> None:
    write_idx(tmp_path / "images", [1, 2, 3])
    assert damage(read_idx, tmp_path / "images", IMAGES) == (tmp_path / "images", LABELS)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", 0),
        (b"\0\0\x08\x03\0\0\0\x01", 8),
        (b"<html>404</html>", int.from_bytes(b"<htm", "big")),
    ],
)
def test_a_file_without_a_header(tmp_path: Path, content: bytes, found: int) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    assert damage(read_idx, path, IMAGES) == (path, found)


ARCHIVE = gzip.compress(bytes(999), mtime=0)


@pytest.mark.parametrize(
    "content",
    [b"", ARCHIVE[:-9], ARCHIVE[:10] + b"\xff" * 20, b"<html>404</html>"],
    ids=["empty", "truncated", "not deflated", "a web page"],
)
def test_a_damaged_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    # An archive of nothing is read as an empty file, one that cannot be read is told with its size.
    assert damage(read_idx, path, IMAGES) == (path, len(content))


def test_an_archive_whose_bytes_were_changed(tmp_path: Path, write_idx: WriteIDX) -> None:
    path = tmp_path / "images.gz"
    write_idx(path, torch.arange(4 * 28 * 28).reshape(4, 28, 28) % 251)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert damage(read_idx, path, IMAGES) == (path, len(content))


def test_compressed_and_other_files_may_be_mixed(tmp_path: Path, write_set: WriteSet) -> None:
    write_set(tmp_path / "plain" / "MNIST" / "raw")
    write_set(tmp_path / "mixed" / "MNIST" / "raw", suffix=".gz")
    compressed = tmp_path / "mixed" / "MNIST" / "raw" / f"{FILES[0]}.gz"
    compressed.with_suffix("").write_bytes(gzip.decompress(compressed.read_bytes()))
    compressed.unlink()
    plain, mixed = (MNIST().load(tmp_path / folder).by_name() for folder in ("plain", "mixed"))
    for name, part in plain.items():
        assert part.images.equal(mixed[name].images)
        assert part.labels.equal(mixed[name].labels)


def test_damaged_files_are_named(tmp_path: Path, write_set: WriteSet) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    path = raw / FILES[2]
    path.write_bytes(path.read_bytes()[:1000])
    assert damage(MNIST().load, tmp_path) == (path, 1000)


def test_images_and_labels_swapped(tmp_path: Path, write_set: WriteSet) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    (raw / FILES[0]).rename(raw / "aside")
    (raw / FILES[1]).rename(raw / FILES[0])
    (raw / "aside").rename(raw / FILES[1])
    assert damage(MNIST().load, tmp_path) == (raw / FILES[0], LABELS)


def test_training_labels_with_test_images(tmp_path: Path, write_set: WriteSet) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    (raw / FILES[0]).write_bytes((raw / FILES[2]).read_bytes())
    assert damage(MNIST().load, tmp_path) == (raw / FILES[0], (20, 28, 28))


def test_the_test_set_in_the_place_of_the_training_set(tmp_path: Path, write_set: WriteSet) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    for test, train in zip(FILES[2:], FILES[:2], strict=True):
        (raw / train).write_bytes((raw / test).read_bytes())
    assert damage(MNIST().load, tmp_path) == (raw / FILES[1], 20)


def test_images_of_another_size(tmp_path: Path, write_set: WriteSet, write_idx: WriteIDX) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    write_idx(raw / FILES[0], np.zeros((100, 40, 40)))
    assert damage(MNIST().load, tmp_path) == (raw / FILES[0], (100, 40, 40))


def test_labels_that_are_no_classes(tmp_path: Path, write_set: WriteSet, write_idx: WriteIDX) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw)
    write_idx(raw / FILES[3], np.arange(20))
    assert damage(MNIST().load, tmp_path) == (raw / FILES[3], 19)


def test_an_archive_of_more_than_is_published_is_not_read_on(tmp_path: Path, write_set: WriteSet) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_set(raw, suffix=".gz")
    path = raw / f"{FILES[0]}.gz"
    path.write_bytes(gzip.compress(bytes(2**24)))
    assert damage(MNIST().load, tmp_path) == (path, path.stat().st_size)


def test_no_more_is_read_than_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(bytes(2**24)))
    tracemalloc.start()
    damage(partial(read_idx, most=1000), path, IMAGES)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
