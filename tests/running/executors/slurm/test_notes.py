"""Notes of submissions: what a later command reads of them, and when they go."""

import os
from pathlib import Path

import pytest

from capsbench.records.store import Store
from capsbench.running.executors.base import Job, Place
from capsbench.running.executors.slurm.notes import Notes, Submitted
from capsbench.running.executors.slurm.task import Task


@pytest.fixture
def make_task(tmp_path):
    def make(token, *names):
        return Task(
            token, tuple(Job(name, print, ()) for name in names), Place(Store(tmp_path), tmp_path), tmp_path / "results"
        )

    return make


@pytest.fixture
def notes(tmp_path):
    return lambda: Notes(tmp_path / "notes")


def test_a_later_command_reads_what_was_noted(notes, make_task, tmp_path):
    written = notes().write({"7_0": make_task("aa", "one", "two"), "7_1": make_task("bb", "three")})
    results = tmp_path / "results"
    assert written == notes().read(results)
    assert written == {
        "one": Submitted("7_0", results / "aa-one.json"),
        "two": Submitted("7_0", results / "aa-two.json"),
        "three": Submitted("7_1", results / "bb-three.json"),
    }


def test_of_a_job_that_was_submitted_again_the_latest_note_holds(notes, make_task, tmp_path):
    notes().write({"10": make_task("aa", "one")})
    notes().write({"9": make_task("bb", "one")})
    os.utime(tmp_path / "notes" / "10.json", ns=(1, 1))
    assert notes().read(tmp_path)["one"].task == "9"
    os.utime(tmp_path / "notes" / "9.json", ns=(0, 0))
    assert notes().read(tmp_path)["one"].task == "10"


def test_a_note_goes_with_the_last_of_its_jobs(notes, make_task, tmp_path):
    first, second = notes(), notes()
    first.write({"7": make_task("aa", "one", "two")})
    second.read(tmp_path)
    for reader in (first, second):
        reader.end("one")
        assert [path.name for path in (tmp_path / "notes").iterdir()] == ["7.json"]
    first.end("two")
    assert [*(tmp_path / "notes").iterdir()] == []
    second.end("two")


def test_what_is_no_note_is_passed_over(notes, make_task, tmp_path):
    notes().write({"7": make_task("aa", "one")})
    for name, text in {"8": "{", "9": "[1]", "10": '{"two": 3}'}.items():
        (tmp_path / "notes" / f"{name}.json").write_text(text)
    assert [*notes().read(tmp_path)] == ["one"]


def test_a_note_that_another_command_removes_meanwhile_is_passed_over(notes, make_task, tmp_path, monkeypatch):
    for task in ("7", "8"):
        notes().write({task: make_task(task, task)})
    look_up = Path.stat

    def remove_first(path, **how):
        if path.name == "7.json":
            path.unlink(missing_ok=True)
        return look_up(path, **how)

    monkeypatch.setattr(Path, "stat", remove_first)
    assert [*notes().read(tmp_path)] == ["8"]


def test_without_notes_nothing_was_submitted(notes, tmp_path):
    assert notes().read(tmp_path) == {}
