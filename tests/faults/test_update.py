"""`capsbench check --update` under faults: the reference is the old one or the new one, whole, and nothing lies beside it."""

import errno
import fcntl
import os
import shutil
from contextlib import nullcontext

import pytest

from capsbench.comparing.side import read_side
from capsbench.comparing.update import has_records, update
from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.records import disk
from capsbench.records.file import seal_json
from capsbench.records.swap import MADE, MARKER, REPLACED, finish_update
from tests.comparing.records import keep_predictions, record, write
from tests.faults.injector import OPERATIONS, RENAMES, SPACE, Killed, faults


def everything_in(folder):
    """Path -> content; of a folder None."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


class Case:
    """A reference with predictions and a note of somebody's, a run, and what the reference is before and after an update."""

    def __init__(self, folder):
        self.folder, self.kept = folder, folder / "kept"
        self.out, self.reference = folder / "out", folder / "reference"
        old, new = (
            [record(0.9 + seed / 100, seed, measure="accuracy") for seed in seeds] for seeds in (range(3), range(1, 4))
        )
        keep_predictions(write(self.kept, old), old[0], [True] * 5)
        (self.kept / "README.md").write_text("made on the old machine")
        (self.kept / "SHA256SUMS").write_text("")
        write(self.out, new)
        self.before = self.renew()
        with faults(self.reference) as self.operations:
            update(self.reference, self.out)
        self.after = everything_in(self.reference)
        self.renew()

    def renew(self):
        shutil.rmtree(self.reference, ignore_errors=True)
        shutil.copytree(self.kept, self.reference)
        return everything_in(self.reference)

    def stop(self, of=OPERATIONS, **fault):
        """Updates the reference until a fault; whether it was met."""
        self.renew()
        with faults(self.reference, of=of, **fault) as operations:
            try:
                update(self.reference, self.out)
            except (Killed, StorageFailed, UsageError) as error:
                met = error
            else:
                met = None
        self.met = met
        return len(operations) > fault["at"]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return Case(tmp_path_factory.mktemp("update"))


def test_an_update_renames_each_part_that_there_is(case):
    moved = [name for name in case.operations if name.startswith("rename")]
    assert moved == ["rename records", "rename .made/records", "rename kept", "rename SHA256SUMS"]
    assert set(case.after) == {"README.md", "records", *(name for name in case.after if name.startswith("records/"))}
    assert case.after["README.md"] == case.before["README.md"]
    assert case.after != case.before


def killed_everywhere(case, of):
    found, at = [], 0
    while case.stop(of, at=at):
        read_side(case.reference, "against")
        found.append(everything_in(case.reference))
        assert found[-1] in (case.before, case.after), case.met
        at += 1
    return found


def test_after_a_kill_at_each_rename_and_removal_whoever_opens_the_reference_finds_one_of_them_whole(case):
    found = killed_everywhere(case, RENAMES)
    assert found[0] == case.before
    assert found[-1] == case.after
    assert len(found) > 8
    assert sorted(found, key=lambda each: each == case.after) == found  # from one moment on it is the new one


@pytest.mark.slow
def test_after_a_kill_at_each_operation_whoever_opens_the_reference_finds_one_of_them_whole(case):
    assert len(killed_everywhere(case, OPERATIONS)) > 40


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_an_error_at_each_rename_puts_all_back(case, error):
    at = 0
    while case.stop({"rename"}, at=at, error=error):
        assert isinstance(case.met, StorageFailed)
        assert everything_in(case.reference) == case.before
        at += 1
    assert at == 4


def test_where_nothing_can_be_renamed_any_more_the_next_who_opens_it_mends_it(case):
    """The renames back fail as well."""
    for at in range(4):
        case.stop({"rename"}, at=at, error=errno.EIO, lasting=True)
        assert isinstance(case.met, StorageFailed)
        assert has_records(case.reference)
        assert everything_in(case.reference) in (case.before, case.after)


def test_a_disk_that_is_full_from_some_moment_on_leaves_the_old_reference_or_the_new_one(case):
    for at in range(0, 24):
        case.stop(SPACE, at=at, error=errno.ENOSPC, lasting=True)
        read_side(case.reference, "against")
        assert everything_in(case.reference) in (case.before, case.after)


def test_the_next_update_finishes_the_one_before_and_sweeps_what_older_versions_left(case):
    case.stop({"rename"}, at=1)
    for name in (".made-0a1b2c3d", ".replaced-0a1b2c3d"):
        (case.reference / name / "records").mkdir(parents=True)
    assert not (case.reference / "records").exists()
    assert update(case.reference, case.out) == ["0 records came", "0 records went", "3 records were written anew"]
    assert everything_in(case.reference) == case.after


def test_while_another_process_is_at_it_the_reference_is_not_touched(case, monkeypatch):
    case.renew()
    monkeypatch.setattr("capsbench.records.swap.PATIENCE", 0.1)
    with (case.reference / MARKER).open("wb") as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)
        for refused in (lambda: update(case.reference, case.out), lambda: read_side(case.reference, "against")):
            with pytest.raises(UsageError) as caught:
                refused()
            assert (caught.value.kind, caught.value.flag) == (Kind.BUSY, "against")
    read_side(case.reference, "against")  # it is gone
    assert everything_in(case.reference) == case.before


@pytest.mark.parametrize("kind", ["link", "pipe", "foreign parts", "linked parts"])
def test_a_marker_that_no_update_left_moves_nothing(case, tmp_path, kind):
    case.renew()
    victim = tmp_path / "victim"
    (victim / "records").mkdir(parents=True)
    marker, content = case.reference / MARKER, seal_json({"schema": 2, "new": ["records"]})
    if kind == "link":
        (victim / "file").write_bytes(content)
        marker.symlink_to(victim / "file")
    elif kind == "pipe":
        os.mkfifo(marker)
    elif kind == "foreign parts":
        marker.write_bytes(seal_json({"schema": 2, "new": ["../../victim"]}))
    else:
        marker.write_bytes(content)
        (case.reference / MADE).symlink_to(victim)
        (case.reference / REPLACED).symlink_to(victim)
    before = everything_in(victim)
    with pytest.raises(UsageError) as caught:
        finish_update(case.reference, "against")
    assert (caught.value.flag, caught.value.file) == ("against", case.reference)
    assert everything_in(victim) == before
    assert (case.reference / "records").is_dir()


def cells_of(folder):
    return {record.cell.id for record in read_side(folder, "against").records}


@pytest.fixture
def identities(case):
    """The cells of the reference before an update and after it."""
    case.renew()
    before = cells_of(case.reference)
    update(case.reference, case.out)
    return before, cells_of(case.reference)


@pytest.mark.parametrize("stopped", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("at", range(3))
def test_a_reader_during_an_update_sees_the_old_reference_or_the_new_one(case, identities, monkeypatch, at, stopped):
    """Another process updates the reference when the reader opens its n-th file, or is killed at one of its renames."""
    case.renew()
    reads = []

    def read_file(path):
        reads.append(path)
        if len(reads) == at + 1:
            killed = nullcontext() if stopped is None else pytest.raises(Killed)
            with killed, faults(case.reference, at=stopped, of={"rename"}):
                update(case.reference, case.out)
        return disk.read_file(path)

    monkeypatch.setattr("capsbench.records.store.read_file", read_file)
    assert cells_of(case.reference) == identities[1]
    assert len(reads) > at + 1


def test_a_reader_of_a_reference_that_is_replaced_again_and_again_is_told_in_a_line(case, monkeypatch):
    def read_file(path):
        if path.parent.parent == case.reference:
            update(case.reference, case.out)
        return disk.read_file(path)

    case.renew()
    monkeypatch.setattr("capsbench.records.swap.ATTEMPTS", 2)
    monkeypatch.setattr("capsbench.comparing.update.has_records", lambda folder: False)  # reads nothing itself
    monkeypatch.setattr("capsbench.records.store.read_file", read_file)
    with pytest.raises(UsageError) as caught:
        read_side(case.reference, "against")
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.BUSY, "against", case.reference)
