"""What the injector of faults stops, and what it leaves."""

import errno
import os
import shutil

import pytest

from tests.faults.injector import SPACE, Killed, faults


def work(folder):
    (folder / "inner").mkdir()
    try:
        (folder / "inner" / "new").write_bytes(b"12345678")
        (folder / "inner" / "new").replace(folder / "kept")
    finally:
        shutil.rmtree(folder / "inner")


OPERATIONS = ["mkdir inner", "open inner/new", "write inner/new", "replace inner/new", "rmdir inner"]


def test_without_a_fault_it_tells_the_operations_and_changes_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, writes = os.pipe()
    with faults(tmp_path) as operations:
        work(tmp_path)
        (tmp_path.parent / "elsewhere").touch()
        os.write(writes, b"into a pipe")
    assert operations == OPERATIONS
    assert (tmp_path / "kept").read_bytes() == b"12345678"


@pytest.mark.parametrize(
    ("at", "left"),
    [(0, {}), (1, {}), (2, {"inner/new": 4}), (3, {"inner/new": 8}), (4, {"kept": 8})],
    ids=OPERATIONS,
)
def test_a_process_that_is_killed_cleans_nothing_up(tmp_path, at, left):
    with pytest.raises(Killed), faults(tmp_path, at=at) as operations:
        work(tmp_path)
    assert operations == OPERATIONS[: at + 1]
    sizes = {str(path.relative_to(tmp_path)): path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
    assert sizes == left
    assert (tmp_path / "inner").exists() == (at > 0)


def test_an_error_stops_one_operation_and_handlers_clean_up(tmp_path):
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), faults(tmp_path, at=3, error=errno.EIO):
        work(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_a_full_disk_stays_full_and_files_can_be_removed(tmp_path):
    def write_again():
        try:
            work(tmp_path)
        finally:
            (tmp_path / "another").write_bytes(b"1")

    full = faults(tmp_path, at=1, error=errno.ENOSPC, of=SPACE, lasting=True)
    with full as operations, pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write_again()
    assert operations == ["mkdir inner", "open inner/new", "open another"]
    assert [*tmp_path.iterdir()] == []
