"""Folders that a user names: what is refused, and whose code is trusted."""

import pytest

from capsbench import registry
from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.records.folder import allow_own, check_folder, require_records
from capsbench.records.store import Store
from capsbench.records.swap import MADE, MARKER
from tests.making import make_capsules, make_record


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text(""), lambda path: path.mkdir()])
def test_what_is_no_folder_of_records_is_refused(tmp_path, make):
    path = tmp_path / "out"
    make(path)
    with pytest.raises(UsageError) as caught:
        check_folder(Store(path), "against")
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.MISSING, "against", path)
    with pytest.raises(UsageError) as caught:
        check_folder(Store(path))
    assert caught.value.flag == "out"


@pytest.mark.parametrize("name", ["records", "runs"])
def test_either_records_or_notes_make_a_folder_of_records(tmp_path, name):
    (tmp_path / name).mkdir()
    check_folder(Store(tmp_path))
    with pytest.raises(NothingMeasured) as caught:
        require_records(Store(tmp_path))
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.MISSING, "out", tmp_path)


def test_an_update_that_was_stopped_is_finished_first(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / MADE).mkdir()
    (tmp_path / MARKER).write_bytes(b"")
    check_folder(Store(tmp_path))
    assert not (tmp_path / MADE).exists()


def test_a_damaged_record_is_a_line_beside_others_and_an_error_alone(tmp_path):
    store = Store(tmp_path)
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "0.json").write_text("{")
    with pytest.raises(UsageError) as caught:
        require_records(store, "against")
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.DAMAGED, "against", tmp_path)
    store.write(make_record(make_capsules()))
    records, faults = require_records(store)
    assert [record.cell for record in records] == [make_capsules()]
    assert len(faults) == 1


def test_the_components_that_records_name_are_trusted_and_looked_for_where_the_latest_run_found_them(
    tmp_path, monkeypatch
):
    store = Store(tmp_path / "out")
    trusted, looked = [], []
    monkeypatch.setattr(registry, "trust", lambda names: trusted.extend(names))
    monkeypatch.setattr(registry, "look_in", lambda folders: looked.extend(folders))
    cell = make_capsules(routing="mine:Routing")
    store.write(make_record(cell))
    for name in ("first", "second"):
        store.write_run([cell], "capsbench run", folders=[tmp_path / name])
    allow_own(store)
    assert "mine:Routing" in trusted
    assert looked == [tmp_path / "second", tmp_path / "first"]
