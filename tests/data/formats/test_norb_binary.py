import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capsbench.data.formats.norb_binary import BYTES, INTEGERS, read_norb
from tests.data.faults import damage


def matrix(magic: int, sizes: list[int], values: bytes) -> bytes:
    """A file as published: three sizes at least, those beyond the dimensions being 1."""
    stored = sizes + [1] * (3 - len(sizes))
    return struct.pack(f"<{2 + len(stored)}i", magic, len(sizes), *stored) + values


PAIRS = matrix(0x1E3D4C55, [2, 2, 3, 4], bytes(range(48)))
VIEWS = matrix(0x1E3D4C54, [3, 4], struct.pack("<12i", *range(-6, 6)))
LABELS = matrix(0x1E3D4C54, [5], struct.pack("<5i", 0, 1, 2, 300, 4))


@pytest.mark.parametrize("name", ["file.mat", "file.mat.gz"])
def test_matrices_are_read_compressed_or_not(tmp_path: Path, name: str) -> None:
    def read(content: bytes, magic: int, sizes: tuple[int, ...]) -> np.ndarray:
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return read_norb(tmp_path / name, magic, sizes)

    assert read(PAIRS, BYTES, (2, 2, 3, 4)).tolist() == np.arange(48).reshape(2, 2, 3, 4).tolist()
    assert read(VIEWS, INTEGERS, (3, 4)).tolist() == [[-6, -5, -4, -3], [-2, -1, 0, 1], [2, 3, 4, 5]]
    assert read(LABELS, INTEGERS, (5,)).tolist() == [0, 1, 2, 300, 4]


def test_headers_have_the_lengths_of_the_published_files() -> None:
    assert len(matrix(BYTES, [24300, 2, 96, 96], b"")) == 24
    assert len(matrix(INTEGERS, [24300], b"")) == len(matrix(INTEGERS, [24300, 4], b"")) == 20


def test_an_uncompressed_matrix_stays_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file.mat").write_bytes(PAIRS)
    pairs = read_norb(tmp_path / "file.mat", BYTES, (2, 2, 3, 4))
    assert isinstance(pairs, np.memmap)
    assert not pairs.flags.writeable


def found(path: Path, content: bytes, magic: int = BYTES, sizes: tuple[int, ...] = (2, 2, 3, 4)) -> Any:
    """What is found in a damaged file."""
    path.write_bytes(content)
    file, value = damage(read_norb, path, magic, sizes)
    assert file == path
    return value


def test_a_truncated_file_is_told_from_its_header(tmp_path: Path) -> None:
    assert found(tmp_path / "file.mat", PAIRS[:-1]) == 71
    assert found(tmp_path / "file.mat.gz", gzip.compress(PAIRS[:-1])) == 71


def test_a_file_that_is_too_long_is_no_better(tmp_path: Path) -> None:
    assert found(tmp_path / "file.mat", LABELS + bytes(9), INTEGERS, (5,)) == 49
    assert found(tmp_path / "file.mat.gz", gzip.compress(LABELS + bytes(9)), INTEGERS, (5,)) == "more"


def test_a_file_that_ends_within_its_header(tmp_path: Path) -> None:
    assert found(tmp_path / "file.mat", PAIRS[:20]) == 20


@pytest.mark.parametrize(
    ("content", "magic"),
    [
        (VIEWS, 0x1E3D4C54),
        (matrix(0x1E3D4C51, [2, 2, 3, 4], bytes(192)), 0x1E3D4C51),
        (PAIRS[3::-1] + PAIRS[4:], 0x554C3D1E),
        (b"", 0),
        (b"<html>404</html>", int.from_bytes(b"<htm", "little")),
    ],
    ids=["integers", "reals", "big-endian", "empty", "a web page"],
)
def test_a_file_of_another_kind(tmp_path: Path, content: bytes, magic: int) -> None:
    assert found(tmp_path / "file.mat", content) == magic


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (matrix(BYTES, [2, 2, 4, 3], bytes(48)), (2, 2, 4, 3)),
        (matrix(BYTES, [48], bytes(60)), 1),
        (matrix(BYTES, [2, 2, 3, 4, 1], bytes(48)), 5),
        (struct.pack("<6i", BYTES, -1, 2, 2, 3, 4), 2**32 - 1),
        (matrix(BYTES, [2**31 - 1, 2**31 - 1, 3, 4], b""), (2**31 - 1, 2**31 - 1, 3, 4)),
    ],
    ids=["another order", "one dimension", "five dimensions", "no number of dimensions", "too large for any machine"],
)
def test_a_matrix_of_another_size(tmp_path: Path, content: bytes, size: Any) -> None:
    """Of another number of dimensions that number is told."""
    assert found(tmp_path / "file.mat", content) == size
    assert found(tmp_path / "file.mat.gz", gzip.compress(content)) == size


ARCHIVE = gzip.compress(PAIRS, mtime=0)


@pytest.mark.parametrize(
    "content",
    [b"", ARCHIVE[:-9], ARCHIVE[:-8] + bytes(8), ARCHIVE[:10] + b"\xff" * 20, b"<html>404</html>"],
    ids=["empty", "truncated", "a wrong check sum", "not deflated", "a web page"],
)
def test_a_damaged_archive(tmp_path: Path, content: bytes) -> None:
    assert found(tmp_path / "file.mat.gz", content) == len(content)
