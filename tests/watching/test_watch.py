"""A results folder as others see it, while processes work in it."""

import pytest

import capsbench
from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.records.record import Row
from capsbench.records.sharing.activity import Activity
from capsbench.records.sharing.leases import Leases
from capsbench.records.store import Store
from capsbench.watching import Watch
from tests.making import make_capsules, make_record

CELLS = [make_capsules(seed=seed) for seed in range(3)]


@pytest.fixture
def store(tmp_path):
    """A folder in which one of three cells of a run is finished."""
    store = Store(tmp_path / "results")
    store.write(make_record(CELLS[0], [Row("accuracy", "accuracy", "test", 0.9, "fraction")]))
    store.write_run(CELLS, "capsbench run")
    return store


def test_the_status_of_a_folder(store):
    leases = Leases(store.folder)
    leases.describe(CELLS[1].id, Activity("em x3", "training", 0.5, 2, 4, 0.25, "", 20.0))
    leases.take(CELLS[1].id)
    status = capsbench.status(store.folder)
    assert (status.folder, status.runs, status.finished) == (str(store.folder), 1, [CELLS[0].id])
    assert [(cell.cell, cell.title, cell.epoch) for cell in status.running] == [(CELLS[1].id, "em x3", 2)]
    assert status.waiting == [CELLS[2].id]
    assert status.seconds_left == 20 + 12
    assert status.counts == {"finished": 1, "trained": 0, "running": 1, "waiting": 1, "failed": 0}
    assert not status.has_ended


def test_sizes_are_by_part_of_the_folder_and_by_what_prune_may_free(store):
    lost = store.kept_path("affine", "0123456789ab")
    lost.parent.mkdir(parents=True)
    lost.write_bytes(b"12345")
    status = capsbench.status(store.folder)
    assert status.sizes["records"].bytes == store.record_path(CELLS[0].id).stat().st_size
    assert (status.sizes["kept"].files, status.sizes["kept"].bytes) == (1, 5)
    assert {kind: size.bytes for kind, size in status.prunable.items()} == {"kept": 5}
    Leases(store.folder).take("0123456789ab")
    assert capsbench.status(store.folder).prunable == {}


def test_a_record_is_read_again_only_when_it_has_changed(store, monkeypatch):
    read = []
    original = Store._read_record
    monkeypatch.setattr(Store, "_read_record", lambda self, path: read.append(path.stem) or original(self, path))
    watch = Watch(store.folder)
    assert len(watch.look().finished) == 1
    assert watch.look() == watch.look()
    assert read == [CELLS[0].id]
    store.write(make_record(CELLS[1], measured=["accuracy"]))
    assert len(watch.look().finished) == 2
    store.write(make_record(CELLS[0], wanted=["accuracy"]))
    assert (watch.look().trained, watch.look().finished) == ([CELLS[0].id], [CELLS[1].id])
    assert read == [CELLS[0].id, CELLS[1].id, CELLS[0].id]


def test_sizes_are_counted_again_after_a_minute(store, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("capsbench.watching.watch.monotonic", lambda: now[0])
    watch = Watch(store.folder)
    before = watch.look().sizes
    (store.folder / "note.txt").write_text("12345")
    now[0] = 59
    assert watch.look().sizes == before
    now[0] = 60
    assert watch.look().sizes["other"].bytes == before["other"].bytes + 5


def test_unreadable_files_are_named_and_the_rest_is_read(store):
    store.record_path(CELLS[2].id).write_text("{")
    (store.folder / "runs" / "000002-01234567.json").write_text("{")
    status = capsbench.status(store.folder)
    assert status.finished == [CELLS[0].id]
    assert [fault.partition(": ")[0] for fault in status.faults] == [
        str(store.record_path(CELLS[2].id)),
        str(store.folder / "runs" / "000002-01234567.json"),
    ]
    with pytest.raises(UsageError) as error:  # the latest run is not known
        capsbench.status(store.folder, last=True)
    assert error.value.kind is Kind.DAMAGED


def test_the_latest_run_alone(store):
    store.write_run(CELLS[2:], "capsbench run")
    status = capsbench.status(store.folder, last=True)
    assert (status.runs, status.finished, status.waiting) == (1, [], [CELLS[2].id])


def test_a_folder_without_notes_of_runs_has_its_records(tmp_path):
    Store(tmp_path).write(make_record(CELLS[0], measured=["accuracy"]))
    for last in (False, True):
        assert capsbench.status(tmp_path, last=last).finished == [CELLS[0].id]


def test_a_folder_of_nothing_is_refused(tmp_path):
    with pytest.raises(UsageError) as error:
        capsbench.status(tmp_path)
    assert error.value.kind is Kind.MISSING
    (tmp_path / "records").mkdir()
    with pytest.raises(NothingMeasured):
        capsbench.status(tmp_path)
