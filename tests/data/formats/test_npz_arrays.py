from pathlib import Path

import numpy as np
import pytest

from capsbench.data.formats.npz_arrays import read_npz
from tests.data.faults import damage

EXPECTED = {"x": ("uint8", (2, 3)), "y": ("int16", (2,))}
X, Y = np.arange(6, dtype=np.uint8).reshape(2, 3), np.array([5, -1], np.int16)


def test_arrays_are_read_by_their_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x=X, y=Y, z=[1])
    arrays = read_npz(tmp_path / "set.npz", EXPECTED)
    assert {name: array.tolist() for name, array in arrays.items()} == {"x": X.tolist(), "y": Y.tolist()}


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ({"x": X}, "nothing"),
        ({"x": X, "y": Y.astype(int)}, "int64 [2]"),
        ({"x": X[:1], "y": Y}, "uint8 [1, 3]"),
    ],
)
def test_an_array_that_is_missing_or_another_one(tmp_path: Path, arrays: dict[str, np.ndarray], found: str) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    assert damage(read_npz, path, EXPECTED) == (path, found)


def test_a_file_that_is_cut_off_or_holds_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, x=X, y=Y)
    path.write_bytes(path.read_bytes()[:-30])
    assert damage(read_npz, path, EXPECTED) == (path, path.stat().st_size)
    np.savez(path, x=X, y=np.array([{}], object))
    assert damage(read_npz, path, EXPECTED) == (path, path.stat().st_size)
