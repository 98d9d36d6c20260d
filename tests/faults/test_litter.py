"""What killed processes leave under temporary names is swept by the next one that writes there, and nothing else is."""

import os
import subprocess
import sys

import pytest

import capsbench
from capsbench.presenting.figures.files import write_files
from capsbench.records.store import Store
from tests.comparing.records import record, write
from tests.faults.injector import Killed, faults


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def gone():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_record_that_was_being_written_is_the_old_one_and_the_next_run_sweeps(tmp_path):
    old, new = record(0.9), record(0.8)
    write(tmp_path, [old])
    at, litter = 0, 0
    while True:
        with faults(tmp_path, at=at) as operations:
            try:
                write(tmp_path, [new])
            except Killed:
                pass
            else:
                break
        assert Store(tmp_path).read(old.cell.id) in (old, new), operations
        litter += len(names_in(tmp_path)) > 1
        Store(tmp_path).sweep()
        assert names_in(tmp_path) == [f"records/{old.cell.id}.json"]
        write(tmp_path, [old])
        at += 1
    assert at > 3
    assert litter > 0


def test_a_killed_report_leaves_nothing_that_the_next_one_does_not_sweep(tmp_path):
    contents = {"index.html": b"a page", "table.csv": b"1"}
    at = 0
    while True:
        with faults(tmp_path, at=at):
            try:
                write_files(tmp_path, contents, ["picture"])
            except Killed:
                pass
            else:
                break
        write_files(tmp_path, {"index.html": b"another"}, ["picture"], ["table.csv"])
        assert names_in(tmp_path) == ["index.html"]
        at += 1
    assert at > 4


def test_what_a_living_process_writes_and_what_is_not_ours_stays(tmp_path, gone):
    folder = write(tmp_path / "results", [record(0.9)])
    report = folder / "report"
    report.mkdir()
    stays = [f".index.html.{os.getppid()}", f".bash_history.{gone}", ".index.html.backup"]
    for name in (*stays, f".index.html.{gone}", f".accuracy-cost.svg.{gone}"):
        (report / name).touch()
    capsbench.report(folder, formats=["md"])
    assert sorted(path.name for path in report.glob(".*")) == sorted(stays)
