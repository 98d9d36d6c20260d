"""Parts of a folder that are replaced all at once; `tests/faults/test_update.py` kills it at each operation."""

import fcntl
import os

import pytest

from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.records import swap
from capsbench.records.file import SCHEMA, seal_json
from capsbench.records.swap import MADE, MARKER, REPLACED, finish_update, replace_parts


@pytest.fixture
def folder(tmp_path):
    """A folder with old records and kept files, and a file that is no part."""
    for name in ("records/old", "kept/old", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def make_new(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("new")


def test_new_parts_replace_all_old_ones_and_other_files_stay(folder):
    with replace_parts(folder, "against") as made:
        make_new(made, "records/new", "SHA256SUMS", "other")
        assert made == folder / MADE
        assert names_in(folder / "records") == ["old"]
    assert names_in(folder) == ["README.md", "SHA256SUMS", "records/new"]


def test_a_folder_that_is_not_there_is_made(tmp_path):
    with replace_parts(tmp_path / "a" / "b", "against") as made:
        make_new(made, "records/new")
    assert names_in(tmp_path) == ["a/b/records/new"]


def test_a_block_that_fails_leaves_everything_as_it_was(folder):
    before = names_in(folder)
    replacing = replace_parts(folder, "against")
    make_new(replacing.__enter__(), "records/new")
    replacing.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert names_in(folder) == before
    with pytest.raises(StorageFailed), replace_parts(folder, "against"):
        raise OSError(28, "No space left on device")
    assert names_in(folder) == before


def test_a_move_that_fails_puts_all_parts_back(folder, monkeypatch):
    before, move = names_in(folder), swap._move_parts

    def move_and_fail(*arguments):
        move(*arguments)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(swap, "_move_parts", move_and_fail)
    with pytest.raises(StorageFailed) as caught, replace_parts(folder, "against") as made:
        make_new(made, "records/new", "between/new")
    assert "restores" not in str(caught.value)
    assert names_in(folder) == before


def interrupt(folder, content):
    """Leaves a folder as a killed update would, with some content of its marker."""
    make_new(folder, f"{MADE}/records/new")
    (folder / REPLACED).mkdir()
    (folder / "kept").rename(folder / REPLACED / "kept")
    (folder / MARKER).write_bytes(content)


def test_an_update_that_was_killed_amid_its_renames_is_finished(folder):
    interrupt(folder, seal_json({"schema": SCHEMA, "new": ["records"]}))
    finish_update(folder, "against")
    assert names_in(folder) == ["README.md", "records/new"]
    assert not any((folder / name).exists() for name in (MADE, REPLACED, MARKER))


@pytest.mark.parametrize("content", [b"", seal_json({"schema": SCHEMA, "new": ["records"]})[:-5]])
def test_an_update_that_was_killed_before_its_renames_is_discarded(folder, content):
    make_new(folder, f"{MADE}/records/new", ".replaced-0123abcd/records/x")
    (folder / ".made-0123abcd").symlink_to(folder / "records")
    (folder / MARKER).write_bytes(content)
    finish_update(folder, "against")
    assert names_in(folder) == ["README.md", "kept/old", "records/old"]
    assert not any((folder / name).exists() for name in (MADE, MARKER, ".made-0123abcd", ".replaced-0123abcd"))


def test_a_folder_without_a_marker_is_not_touched(folder):
    make_new(folder, f"{MADE}/records/new")
    finish_update(folder, "against")
    assert f"{MADE}/records/new" in names_in(folder)


@pytest.mark.parametrize(
    "content", [seal_json({"schema": SCHEMA, "new": ["elsewhere"]}), seal_json({"schema": SCHEMA})]
)
def test_a_marker_that_no_update_wrote_is_refused(folder, content):
    (folder / MARKER).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        finish_update(folder, "against")
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.DAMAGED, "against", folder)
    assert (folder / MARKER).exists()


@pytest.mark.parametrize("name", [MADE, REPLACED])
def test_new_parts_that_are_a_link_are_refused(folder, tmp_path, name):
    (folder / name).symlink_to(tmp_path / "records")
    (folder / MARKER).write_bytes(seal_json({"schema": SCHEMA, "new": ["records"]}))
    with pytest.raises(UsageError) as caught:
        finish_update(folder, "against")
    assert caught.value.kind == Kind.DAMAGED


def test_a_marker_that_is_a_folder_is_refused(folder):
    (folder / MARKER).mkdir()
    with pytest.raises(UsageError) as caught:
        finish_update(folder, "against")
    assert (caught.value.kind, caught.value.file) == (Kind.INACCESSIBLE, folder)


@pytest.mark.parametrize("mask", [0o022, 0o002])
def test_who_may_read_the_marker_is_for_the_umask_to_say(folder, mask):
    before = os.umask(mask)
    try:
        with replace_parts(folder, "against"):
            mode = (folder / MARKER).stat().st_mode & 0o777
    finally:
        os.umask(before)
    assert mode == 0o666 & ~mask


def test_while_another_process_holds_the_marker_the_folder_is_busy(folder, monkeypatch):
    monkeypatch.setattr(swap, "PATIENCE", 0.1)
    with (folder / MARKER).open("wb") as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)
        for call in (lambda: finish_update(folder, "against"), lambda: replace_parts(folder, "against").__enter__()):
            with pytest.raises(UsageError) as caught:
                call()
            assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.BUSY, "against", folder)
    finish_update(folder, "against")
    assert not (folder / MARKER).exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError) as caught, replace_parts(tmp_path / "file", "against"):
        pass
    assert (caught.value.kind, caught.value.flag) == (Kind.INACCESSIBLE, "against")
