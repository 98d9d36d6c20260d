"""Leases of cells, between processes and machines that share a folder."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from capsbench.errors import StorageFailed
from capsbench.records.sharing.activity import Activity
from capsbench.records.sharing.leases import SECONDS_UNTIL_STALE, Leases
from capsbench.records.sharing.process import identify_process

CELL, OTHER = "0123456789ab", "ba9876543210"


@pytest.fixture
def files(tmp_path):
    """Lists the files of leases in the folder."""
    return lambda: sorted(path.name for path in (tmp_path / "leases").iterdir())


def change_holder(tmp_path, name, **facts_of_process):
    path = tmp_path / "leases" / name
    facts = json.loads(path.read_text())
    facts["holder"] |= facts_of_process
    path.write_text(json.dumps(facts))


def pretend_elsewhere(tmp_path, name=f"{CELL}.1.json"):
    """Makes a lease that of a process on another machine."""
    change_holder(tmp_path, name, host="elsewhere")


def test_of_two_processes_one_holds_a_cell_until_it_gives_it_back(tmp_path, files):
    one, two = Leases(tmp_path), Leases(tmp_path)
    assert (one.take(CELL), two.take(CELL), two.take(OTHER)) == (True, False, True)
    assert (one.is_held(CELL), two.is_held(CELL)) == (True, False)
    one.release(CELL)
    assert files() == [f"{OTHER}.1.json"]
    assert (one.is_held(CELL), two.take(CELL), two.is_held(CELL)) == (False, True, True)


def test_leases_end_with_their_block(tmp_path, files):
    with Leases(tmp_path) as leases:
        leases.take(CELL)
        leases.take(OTHER)
        assert len(files()) == 2
    assert files() == []


def test_the_lease_of_a_process_that_has_died_is_taken_over_at_once(tmp_path, files):
    script = (
        f"from capsbench.records.sharing.leases import Leases; Leases(__import__('pathlib').Path('.')).take('{CELL}')"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    leases = Leases(tmp_path)
    assert leases.take(CELL)
    assert files() == [f"{CELL}.1.json", f"{CELL}.2.json"]
    leases.release(CELL)
    assert files() == []


def test_what_a_process_that_has_died_left_is_removed_and_what_others_hold_is_not(tmp_path, files):
    other, dead = Leases(tmp_path), Leases(tmp_path)
    other.take(OTHER)
    dead.take(CELL)
    change_holder(tmp_path, f"{CELL}.1.json", born="long ago")
    Leases(tmp_path).remove_stale()
    assert files() == [f"{OTHER}.1.json"]


def test_a_lease_whose_file_cannot_be_removed_is_given_back_at_the_end(tmp_path, files, monkeypatch):
    with Leases(tmp_path) as leases:
        leases.take(CELL)
        with monkeypatch.context() as disk:
            disk.setattr(Path, "unlink", refuse)
            leases.release(CELL)
        assert files() == [f"{CELL}.1.json"]
    assert files() == []


def test_a_lease_whose_file_cannot_be_removed_at_the_end_is_stale(tmp_path, files, monkeypatch):
    with monkeypatch.context() as disk, Leases(tmp_path) as leases:
        leases.take(CELL)
        disk.setattr(Path, "unlink", refuse)
    assert files() == [f"{CELL}.1.json"]
    later = Leases(tmp_path)
    assert later.take(CELL)
    later.release(CELL)
    assert files() == []


def test_a_folder_that_cannot_be_read_is_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StorageFailed, match="leases: cannot be read: Input/output error"):
        Leases(tmp_path).take(CELL)


def refuse(*_, **__):
    raise OSError(errno.EIO, "Input/output error")


def test_the_lease_of_another_machine_is_taken_over_once_it_has_not_changed_for_some_time(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("capsbench.records.sharing.leases.monotonic", lambda: now[0])
    there, here = Leases(tmp_path), Leases(tmp_path, seconds_until_stale=100)
    there.take(CELL)
    pretend_elsewhere(tmp_path)
    assert not here.take(CELL)
    now[0] += 99
    assert not here.take(CELL)
    there.beat()
    pretend_elsewhere(tmp_path)
    now[0] += 2
    assert not here.take(CELL)
    now[0] += 101
    assert here.take(CELL)
    assert (there.is_held(CELL), here.is_held(CELL)) == (False, True)


def test_a_holder_that_lost_its_lease_neither_renews_nor_removes_it(tmp_path, files):
    lost, present = Leases(tmp_path), Leases(tmp_path, seconds_until_stale=0)
    lost.take(CELL)
    pretend_elsewhere(tmp_path)
    present.take(CELL)  # sees it for the first time
    assert present.take(CELL)
    lost.beat()
    lost.release(CELL)
    assert files() == [f"{CELL}.1.json", f"{CELL}.2.json"]
    present.release(CELL)
    assert (files(), lost.is_held(CELL)) == ([], False)


@pytest.mark.parametrize("beats", [True, False])
def test_a_holder_that_was_suspended_leaves_the_lease_of_a_later_holder_of_its_generation(tmp_path, files, beats):
    lost, second, third = (Leases(tmp_path, seconds_until_stale=0) for _ in range(3))
    lost.take(CELL)
    assert [second.take(CELL), second.take(CELL)] == [False, True]
    second.release(CELL)
    assert third.take(CELL)
    content = (tmp_path / "leases" / f"{CELL}.1.json").read_bytes()
    if beats:
        lost.beat()
    lost.release(CELL)
    assert (tmp_path / "leases" / f"{CELL}.1.json").read_bytes() == content
    assert (files(), lost.is_held(CELL), third.is_held(CELL)) == ([f"{CELL}.1.json"], False, True)


def test_a_holder_that_was_suspended_leaves_the_lease_of_who_took_it_over(tmp_path, files):
    lost, present = (Leases(tmp_path, seconds_until_stale=0) for _ in range(2))
    lost.take(CELL)
    assert [present.take(CELL), present.take(CELL)] == [False, True]
    lost.release(CELL)
    assert (files(), present.is_held(CELL)) == ([f"{CELL}.1.json", f"{CELL}.2.json"], True)


def test_a_lease_tells_who_holds_it_and_what_is_being_done(tmp_path):
    leases = Leases(tmp_path)
    leases.take(CELL)
    leases.take(OTHER)
    leases.describe(CELL, Activity("em x3", epoch=2))
    leases.describe(OTHER, Activity(doing="measuring speed"))
    leases.describe(OTHER, Activity(doing="measuring affine"))
    leases.beat()
    one, other = sorted(Leases(tmp_path).read_all(), key=lambda lease: lease.cell_id)
    assert one.holder == identify_process(os.getpid())
    assert one.activity == Activity("em x3", epoch=2)
    assert other.activity == Activity(doing="measuring affine")


def test_a_lease_tells_an_activity_at_once_that_was_described_before_it_was_taken(tmp_path):
    leases = Leases(tmp_path)
    leases.describe(CELL, Activity("em x3"))
    leases.take(CELL)
    (lease,) = Leases(tmp_path).read_all()
    assert (lease.cell_id, lease.generation, lease.activity) == (CELL, 1, Activity("em x3"))


def test_a_lease_tells_how_long_its_holder_had_it_at_the_latest_heartbeat(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("capsbench.records.sharing.leases.monotonic", lambda: now[0])
    leases = Leases(tmp_path)
    leases.take(CELL)
    now[0] += 25
    assert [lease.seconds for lease in Leases(tmp_path).read_all()] == [0]
    leases.beat()
    assert [lease.seconds for lease in Leases(tmp_path).read_all()] == [25]


def test_who_watches_sees_stale_leases_too(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("capsbench.records.sharing.leases.monotonic", lambda: now[0])
    for cell in (CELL, OTHER):
        Leases(tmp_path).take(cell)
    change_holder(tmp_path, f"{OTHER}.1.json", born="1")
    pretend_elsewhere(tmp_path)
    watching = Leases(tmp_path)
    assert {lease.cell_id: lease.is_stale for lease in watching.read_all()} == {CELL: False, OTHER: True}
    now[0] += SECONDS_UNTIL_STALE
    assert {lease.cell_id: lease.is_stale for lease in watching.read_all()} == {CELL: True, OTHER: True}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"token": 1}', b'{"holder": {"host": 1}}', b"[" * 10**5])
def test_a_damaged_lease_is_in_nobodys_way_for_long(tmp_path, content):
    path = tmp_path / "leases" / f"{CELL}.1.json"
    path.parent.mkdir()
    path.write_bytes(content)
    leases = Leases(tmp_path, seconds_until_stale=0)
    assert leases.read_all() == []
    assert leases.take(CELL)


@pytest.mark.parametrize("content", [b"", b"{"])
def test_a_lease_that_its_holder_is_about_to_write_is_not_stale(tmp_path, monkeypatch, content):
    monkeypatch.setattr("capsbench.records.sharing.leases.monotonic", lambda: 10 * SECONDS_UNTIL_STALE)
    path = tmp_path / "leases" / f"{CELL}.1.json"
    path.parent.mkdir()
    path.write_bytes(content)
    assert not Leases(tmp_path).take(CELL)


def test_many_processes_want_one_cell_and_one_gets_it(tmp_path):
    script = (
        "import pathlib, sys; from capsbench.records.sharing.leases import Leases\n"
        f"leases = Leases(pathlib.Path('.')); sys.stdin.readline(); print(leases.take('{CELL}')); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", script]
    processes = [
        subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.stdout.readline().strip() for process in processes]
    for process in processes:
        process.communicate("end\n")
    assert sorted(answers) == ["False", "False", "True"]


def damage_by_a_folder(path):
    path.mkdir()


def damage_by_a_device(path):
    path.symlink_to("/dev/zero")


def damage_by_a_pipe(path):
    os.mkfifo(path)


def damage_by_text(path):
    path.write_text("[]")


@pytest.mark.parametrize("name", [f"{CELL}.1.json", f"{CELL}.999999999.json"])
@pytest.mark.parametrize("damage", [damage_by_a_folder, damage_by_a_device, damage_by_a_pipe, damage_by_text])
def test_what_cannot_be_read_as_a_lease_keeps_a_cell_from_others_for_a_while_only(tmp_path, monkeypatch, damage, name):
    if name.startswith(f"{CELL}.999") and damage is damage_by_a_folder:
        pytest.skip("a folder cannot be removed as a file: the user has to")
    now = [1000.0]
    monkeypatch.setattr("capsbench.records.sharing.leases.monotonic", lambda: now[0])
    (tmp_path / "leases").mkdir()
    damage(tmp_path / "leases" / name)
    leases = Leases(tmp_path)
    assert not leases.take(CELL)
    now[0] += SECONDS_UNTIL_STALE - 1
    assert not leases.take(CELL)
    now[0] += 2
    assert leases.take(CELL) or leases.take(CELL)  # the last generation goes first
    assert leases.is_held(CELL)
    leases.release(CELL)
    assert damage is damage_by_a_folder or Leases(tmp_path).read_all() == []
    assert leases.take(CELL)  # also if the disk refused to remove it
