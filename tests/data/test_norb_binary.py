import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from capsbench.data.norb_binary import BYTES, INTEGERS, read_norb
from capsbench.errors import UsageError


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
    found = read_norb(tmp_path / "file.mat", BYTES, (2, 2, 3, 4))
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable


def damaged(path: Path, content: bytes, magic: int = BYTES, sizes: tuple[int, ...] = (2, 2, 3, 4)) -> str:
    """The line that a damaged file gets."""
    path.write_bytes(content)
    with pytest.raises(UsageError) as error:
        read_norb(path, magic, sizes)
    line = str(error.value)
    assert line.startswith(str(path))
    assert line.endswith("delete it to have it downloaded again, or put a whole one there")
    assert "\n" not in line
    return line


def test_a_truncated_file_is_told_from_its_header(tmp_path: Path) -> None:
    line = damaged(tmp_path / "file.mat", PAIRS[:-1])
    assert "its header promises 2 x 2 x 3 x 4, so 72 bytes, found 71" in line
    line = damaged(tmp_path / "file.mat.gz", gzip.compress(PAIRS[:-1]))
    assert "its header promises 2 x 2 x 3 x 4, so 72 bytes, found 71" in line


def test_a_file_that_is_too_long_is_no_better(tmp_path: Path) -> None:
    line = damaged(tmp_path / "file.mat", LABELS + bytes(9), INTEGERS, (5,))
    assert "its header promises 5, so 40 bytes, found 49" in line
    line = damaged(tmp_path / "file.mat.gz", gzip.compress(LABELS + bytes(9)), INTEGERS, (5,))
    assert "its header promises 5, so 40 bytes, found more" in line


def test_a_file_that_ends_within_its_header(tmp_path: Path) -> None:
    line = damaged(tmp_path / "file.mat", PAIRS[:20])
    assert "file.mat: ends within its header, after 20 bytes; delete it" in line


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (VIEWS, "found magic number 0x1e3d4c54, that of integer values"),
        (
            matrix(0x1E3D4C51, [2, 2, 3, 4], bytes(192)),
            "found magic number 0x1e3d4c51, that of single-precision values",
        ),
        (PAIRS[3::-1] + PAIRS[4:], "found magic number 0x554c3d1e"),
        (b"", "found magic number 0x0; "),
        (b"<html>404</html>", f"found magic number {int.from_bytes(b'<htm', 'little'):#x}; "),
    ],
    ids=["integers", "reals", "big-endian", "empty", "a web page"],
)
def test_a_file_of_another_kind(tmp_path: Path, content: bytes, found: str) -> None:
    line = damaged(tmp_path / "file.mat", content)
    assert "expected a matrix of NORB of byte values (magic number 0x1e3d4c55), " in line
    assert found in line


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (matrix(BYTES, [2, 2, 4, 3], bytes(48)), "found 2 x 2 x 4 x 3"),
        (matrix(BYTES, [48], bytes(60)), "found 1 dimensions"),
        (matrix(BYTES, [2, 2, 3, 4, 1], bytes(48)), "found 5 dimensions"),
        (struct.pack("<6i", BYTES, -1, 2, 2, 3, 4), f"found {2**32 - 1} dimensions"),
        (matrix(BYTES, [2**31 - 1, 2**31 - 1, 3, 4], b""), f"found {2**31 - 1} x {2**31 - 1} x 3 x 4"),
    ],
    ids=["another order", "one dimension", "five dimensions", "no number of dimensions", "too large for any machine"],
)
def test_a_matrix_of_another_size(tmp_path: Path, content: bytes, found: str) -> None:
    for path, written in ((tmp_path / "file.mat", content), (tmp_path / "file.mat.gz", gzip.compress(content))):
        line = damaged(path, written)
        assert f"expected a matrix of 2 x 2 x 3 x 4, {found}; " in line


ARCHIVE = gzip.compress(PAIRS, mtime=0)


@pytest.mark.parametrize(
    "content",
    [b"", ARCHIVE[:-9], ARCHIVE[:-8] + bytes(8), ARCHIVE[:10] + b"\xff" * 20, b"<html>404</html>"],
    ids=["empty", "truncated", "a wrong check sum", "not deflated", "a web page"],
)
def test_a_damaged_archive(tmp_path: Path, content: bytes) -> None:
    damaged(tmp_path / "file.mat.gz", content)
