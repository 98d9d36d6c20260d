import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from scipy.sparse import csc_array

from capsbench.data.formats import matlab, matlab_process
from capsbench.data.formats.matlab import read_matlab
from capsbench.data.formats.published import REMEDY
from capsbench.errors import LONGEST_MESSAGE, Kind, UsageError
from tests.data.faults import damage, usage_error

NUMBERS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
NAMES = ["X", "y", "inside.image"]


def content_of(**variables: Any) -> bytes:
    file = io.BytesIO()
    savemat(file, variables)
    return file.getvalue()


WHOLE = content_of(X=NUMBERS, y=np.ones((5, 1)), inside={"image": NUMBERS[0], "name": "digits"})


def compressed(content: bytes) -> bytes:
    """A MATLAB 5 file with each of its variables compressed, which has the same check sums whatever is in it."""
    written, at = content[:128], 128
    while at + 8 <= len(content):
        (size,) = struct.unpack_from("<I", content, at + 4)
        variable = zlib.compress(content[at : at + 8 + size])
        written += struct.pack("<II", 15, len(variable)) + variable
        at += 8 + size
    return written


def mutated(content: bytes, seed: int) -> bytes:
    """The content with one to four other bytes, or cut off."""
    rng = random.Random(seed)
    if seed % 8 == 7:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(128, len(content))] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("write", [bytes, compressed], ids=["plain", "compressed"])
def test_arrays_come_as_they_are_in_the_file(tmp_path: Path, write: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(write(WHOLE))
    arrays = read_matlab(path, [*NAMES, "z", "inside.other"])
    assert [*arrays] == [*NAMES, "z", "inside.other"]
    assert arrays["z"] is arrays["inside.other"] is None
    for name, expected in zip(NAMES, (NUMBERS, np.ones((5, 1)), NUMBERS[0]), strict=True):
        found = arrays[name]
        assert found is not None
        assert found.dtype == expected.dtype
        assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("signal", ["SIGSEGV", "SIGBUS", "SIGKILL"])
def test_a_file_that_kills_who_reads_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal: str) -> None:
    script = tmp_path / "dies.py"
    script.write_text(f"import os, signal\nos.kill(os.getpid(), signal.{signal})\n")
    monkeypatch.setattr(matlab_process, "__file__", str(script))
    path = tmp_path / "a.mat"
    path.write_bytes(WHOLE)
    error = usage_error(read_matlab, path, NAMES)
    assert (error.file, error.value) == (path, len(WHOLE))
    assert signal in error.problem.replace(",", " ").split()


FEW = (3, 9, 17, 88, 0, 1, 7)
"""Seeds of damages; of the first four SciPy 1.17 dies."""


@pytest.mark.parametrize("write", [bytes, compressed], ids=["plain", "compressed"])
@pytest.mark.parametrize("seeds", [FEW, pytest.param(range(30), marks=pytest.mark.slow)], ids=["few", "many"])
def test_no_damaged_file_ends_the_process(tmp_path: Path, write: Callable[[bytes], bytes], seeds: Any) -> None:
    path = tmp_path / "a.mat"
    for seed in seeds:
        path.write_bytes(write(mutated(WHOLE, seed)))
        refused = None
        try:
            read_matlab(path, NAMES)
        except UsageError as error:
            refused = error
        if refused is not None:
            assert (refused.kind, refused.file, refused.value) == (Kind.DAMAGED, path, path.stat().st_size)
            assert (refused.expected, "\n" in str(refused)) == (REMEDY, False)


@pytest.mark.parametrize("content", [WHOLE, content_of(inside=csc_array(np.eye(3)))], ids=["structure", "sparse"])
def test_what_is_no_array_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    error = usage_error(read_matlab, path, ["inside"])
    assert error.file == path
    assert "inside" in error.problem.split()


def archive_of(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.mat", content)


@pytest.mark.parametrize("members", [{}, {"a": WHOLE, "b": WHOLE}])
def test_an_archive_holds_one_file(tmp_path: Path, members: dict[str, bytes]) -> None:
    path = tmp_path / "a.mat.zip"
    archive_of(path, **members)
    assert damage(read_matlab, path, NAMES) == (path, path.stat().st_size)


def test_what_an_archive_says_is_too_large_is_not_decompressed(tmp_path: Path) -> None:
    path = tmp_path / "a.mat.zip"
    archive_of(path, a=WHOLE)
    with zipfile.ZipFile(path) as archive:
        size = struct.pack("<I", archive.infolist()[0].file_size)
    path.write_bytes(path.read_bytes().replace(size, struct.pack("<I", matlab_process.LARGEST + 1)))
    error = usage_error(read_matlab, path, NAMES)
    assert str(matlab_process.LARGEST + 1) in error.problem.split()


def test_an_archive_with_a_long_name_is_refused_in_a_short_line(tmp_path: Path) -> None:
    """Python's message holds the two names that differ, more than a pipe takes in."""
    path = tmp_path / "a.mat.zip"
    name = "a" * 65_000
    archive_of(path, **{name: WHOLE})
    path.write_bytes(path.read_bytes().replace(name.encode(), b"b" * len(name), 1))
    error = usage_error(read_matlab, path, NAMES)
    assert (error.kind, error.file) == (Kind.DAMAGED, path)
    assert len(error.problem) < 2 * LONGEST_MESSAGE


def test_memory_ends_before_the_machines_does(tmp_path: Path) -> None:
    """An array that says it has 4 GiB, for which SciPy asks before it reads."""
    path = tmp_path / "a.mat"
    content = content_of(X=np.zeros((64, 64), np.uint8))
    size = struct.pack("<II", 2, 64 * 64)
    assert content.count(size) == 1
    path.write_bytes(content.replace(size, struct.pack("<II", 2, 2**32 - 8)))
    error = usage_error(read_matlab, path, ["X"])
    assert (error.kind, error.file) == (Kind.DAMAGED, path)
    assert "MemoryError" in error.problem.split()


def test_no_file_is_read_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "sleeps.py"
    script.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(matlab_process, "__file__", str(script))
    monkeypatch.setattr(matlab, "SECONDS", 0.1)
    path = tmp_path / "a.mat"
    path.write_bytes(WHOLE)
    assert damage(read_matlab, path, NAMES) == (path, len(WHOLE))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full to write to")
def test_a_full_disk_is_no_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matlab, "TemporaryDirectory", lambda: nullcontext(str(tmp_path)))
    full = tmp_path / "arrays.npz"
    full.symlink_to("/dev/full")
    (tmp_path / "a.mat").write_bytes(WHOLE)
    error = usage_error(read_matlab, tmp_path / "a.mat", NAMES)
    assert (error.kind, error.file) == (Kind.INACCESSIBLE, full)
    assert "No space left on device" in error.problem


def test_modules_beside_the_script_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.py"
    script.write_bytes(Path(matlab_process.__file__).read_bytes())
    monkeypatch.setattr(matlab_process, "__file__", str(script))
    (tmp_path / "scipy.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "a.mat").write_bytes(WHOLE)
    assert read_matlab(tmp_path / "a.mat", ["y"])["y"] is not None
