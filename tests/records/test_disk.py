"""Files and folders are made and renamed in one place, where the disk is asked to keep what they are called."""

import ast
import errno
import os
import time
from pathlib import Path

import pytest

import capsbench
from capsbench.records.disk import (
    SECONDS_UNTIL_LITTER,
    make_folder,
    probe_folder,
    put_folder_in_place,
    put_in_place,
    read_file,
    sweep_temporaries,
    write_file,
)
from capsbench.records.sharing.process import machine_token
from tests.faults.injector import Killed, faults

CHECKOUT = Path(capsbench.__file__).parent
THE_PLACES = {"records/disk.py", "records/swap.py"}


def moves(path):
    """The calls of a source file that make a folder or move a file, as far as they can be told from others of that name."""
    called = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    methods = [(call.func.attr, len(call.args), len(call.keywords)) for call in called if hasattr(call.func, "attr")]
    moving = {"replace", "rename"}  # of one argument; those of texts, records and tables have others
    return [
        name
        for name, *counts in methods
        if name in ("mkdir", "makedirs", "renames", "move") or (name in moving and counts == [1, 0])
    ]


def test_nothing_is_renamed_and_no_folder_made_elsewhere():
    found = {str(path.relative_to(CHECKOUT)): moves(path) for path in CHECKOUT.rglob("*.py")}
    assert {path for path, calls in found.items() if calls} == THE_PLACES


def test_several_files_are_on_the_disk_before_any_is_in_its_place(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    with faults(tmp_path) as operations:
        put_in_place({tmp_path / name: tmp_path / f"{name}.txt" for name in ("one", "two")})
    assert [line for line in operations if not line.startswith("open")] == [
        *("fsync one", "fsync two", "replace one", "replace two", "fsync .")
    ]


def test_a_folder_that_is_made_is_named_on_the_disk_in_the_one_above(tmp_path):
    with faults(tmp_path) as operations:
        make_folder(tmp_path / "a" / "b")
        make_folder(tmp_path / "a" / "b")
    assert sorted(line for line in operations if line.startswith("fsync")) == ["fsync .", "fsync a"]


def test_what_a_killed_probe_left_is_swept(tmp_path):
    with pytest.raises(Killed), faults(tmp_path, at=1):
        probe_folder(tmp_path)
    assert len([*tmp_path.iterdir()]) == 1
    sweep_temporaries([tmp_path])
    assert [*tmp_path.iterdir()] == []


def test_a_folder_in_which_no_file_can_be_made_says_why(tmp_path):
    with pytest.raises(OSError) as caught, faults(tmp_path, at=0, error=errno.EROFS, of={"open"}):  # noqa: PT011
        probe_folder(tmp_path)
    assert caught.value.errno == errno.EROFS
    probe_folder(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_a_file_that_is_in_its_place_is_written_whatever_becomes_of_its_temporary_name(tmp_path):
    with faults(tmp_path, at=0, error=errno.EIO, of={"unlink"}) as operations:
        write_file(tmp_path / "a", b"content")
    assert len(operations) == 1
    assert (tmp_path / "a").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("answer", "kept"),
    [(None, True), (PermissionError(), True), (ProcessLookupError(), False), (OverflowError(), False)],
    ids=["alive", "of another user", "dead", "no process"],
)
def test_a_temporary_file_stays_while_another_process_may_write_it(tmp_path, monkeypatch, answer, kept):
    def signal_process(process, signal):
        assert (process, signal) == (123456, 0)
        if answer is not None:
            raise answer

    monkeypatch.setattr(os, "kill", signal_process)
    here, elsewhere = machine_token(), "0" * 8
    mine, theirs = f".a.json.{os.getpid()}-{here}", f".a.json.123456-{elsewhere}"
    names = [
        mine,
        theirs,
        f".a.json.123456-{here}",
        ".a.json.123456",
        f".a.json.{os.getpid()}",
        ".theirs.123456",
        ".a.json.012",
        "a.json.123456",
    ]
    for name in names:
        (tmp_path / name).touch()
    sweep_temporaries([tmp_path], lambda name: name == "a.json")
    swept = {*names} - {path.name for path in tmp_path.iterdir()}
    dead = set() if kept else {".a.json.123456", f".a.json.123456-{here}"}
    assert swept == {mine, f".a.json.{os.getpid()}", *dead}


def test_a_temporary_file_of_another_machine_stays_for_some_days(tmp_path):
    for age, name in ((0, ".new.7-00000000"), (2 * SECONDS_UNTIL_LITTER, ".old.7-00000000")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    sweep_temporaries([tmp_path])
    assert [path.name for path in tmp_path.iterdir()] == [".new.7-00000000"]


def test_what_is_no_file_is_refused_and_not_left_open(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    before = len([*Path("/dev/fd").iterdir()])
    for path, kind in ((tmp_path, IsADirectoryError), (tmp_path / "pipe", OSError), (Path(os.devnull), OSError)):
        with pytest.raises(kind):
            read_file(path)
    assert len([*Path("/dev/fd").iterdir()]) == before


def test_a_folder_in_its_place_is_on_the_disk_and_replaces_no_files(tmp_path):
    for name in ("made", "late"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with faults(tmp_path) as operations:
        put_folder_in_place(tmp_path / "made", tmp_path / "final")
    assert operations[-1] == "fsync ."
    with pytest.raises(OSError, match="final"):
        put_folder_in_place(tmp_path / "late", tmp_path / "final")
    assert (tmp_path / "final" / "file").read_text() == "made"
