"""`capsbench status` as a person types it."""

import json
import re

import pytest
from rich.console import Console

from capsbench.cli import status as command
from capsbench.cli.status import _spell_seconds
from capsbench.records.record import Row
from capsbench.records.sharing.activity import Activity
from capsbench.records.sharing.leases import Leases
from capsbench.records.store import Store
from tests.faults.hostile import TEXTS, acts
from tests.making import make_capsules, make_failed, make_record

CELLS = [make_capsules(seed=seed) for seed in range(4)]


@pytest.fixture
def store(tmp_path):
    """A folder of a run with a cell in each state but trained."""
    store = Store(tmp_path / "results")
    store.write(make_record(CELLS[0], [Row("accuracy", "accuracy", "test", 0.9, "fraction")]))
    store.write(make_failed(CELLS[1], "the loss became nan"))
    store.write_run(CELLS, "capsbench run")
    leases = Leases(store.folder)
    leases.describe(CELLS[2].id, Activity("em x3, seed 2", "training", 0.5, 2, 4, 0.25, "accuracy 50.0%", 100.0))
    leases.take(CELLS[2].id)
    return store


@pytest.fixture
def looks(monkeypatch):
    """Functions that are called between two looks of a watch, one after the other."""
    steps = []
    monkeypatch.setattr(command.time, "sleep", lambda seconds: steps.pop(0)())
    return steps


def finish_all(store):
    for lease in (store.folder / "leases").iterdir():
        lease.unlink()
    for cell in CELLS:
        store.write(make_record(cell, measured=["accuracy"]))


def test_it_prints_counts_running_and_failed_cells_and_sizes(capsbench, store, tmp_path):
    done = capsbench("status", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    counts, heads, running, failed, size = done.stdout.splitlines()
    assert (
        "1 run, 4 cells: 1 finished, 1 running, 1 waiting, 1 failed; about 112 s left".replace("112 s", "2 min")
        in counts
    )
    assert heads.split() == ["running", "where", "doing", "epoch", "loss", "validation", "left"]
    assert re.split(r"\s{2,}", running)[0] == "em x3, seed 2"
    assert re.split(r"\s{2,}", running)[2:] == ["training 50%", "2 of 4", "0.25", "accuracy 50.0%", "about 2 min"]
    assert failed.endswith(f"{CELLS[1].title}: the loss became nan")
    assert "records" in size


def test_programs_read_json(capsbench, store, tmp_path):
    facts = json.loads(capsbench("status", "--json", cwd=tmp_path).stdout)
    assert facts["counts"] == {"finished": 1, "trained": 0, "running": 1, "waiting": 1, "failed": 1}
    assert (facts["total"], facts["seconds_left"]) == (4, 112)
    assert (facts["finished"], facts["waiting"]) == ([CELLS[0].id], [CELLS[3].id])
    assert [(cell["cell"], cell["epoch"], cell["loss"]) for cell in facts["running"]] == [(CELLS[2].id, 2, 0.25)]
    assert [(cell["cell"], cell["reason"]) for cell in facts["failed"]] == [(CELLS[1].id, "the loss became nan")]
    assert facts["sizes"]["records"]["files"] == 2


def test_a_watch_in_a_pipe_prints_changed_counts_and_ends_with_the_last_cell(capsbench, store, tmp_path, looks):
    looks += [
        lambda: None,
        lambda: store.write(make_record(CELLS[3], measured=["accuracy"])),
        lambda: finish_all(store),
    ]
    done = capsbench("status", "--watch", cwd=tmp_path)
    assert done.returncode == 0
    counts = [line.partition(": ")[2].partition(";")[0] for line in done.stdout.splitlines() if "4 cells" in line]
    assert counts == ["1 finished, 1 running, 1 waiting, 1 failed", "2 finished, 1 running, 1 failed", "4 finished"]
    assert (looks, "size: " in done.stdout) == ([], True)


def test_a_watch_as_json_is_a_line_a_look(capsbench, store, tmp_path, looks):
    looks += [lambda: None, lambda: finish_all(store)]
    lines = capsbench("status", "--watch", "--json", cwd=tmp_path).stdout.splitlines()
    assert [json.loads(line)["counts"]["finished"] for line in lines] == [1, 1, 4]


def test_a_watch_on_a_terminal_redraws_in_place(store, tmp_path, looks, monkeypatch):
    looks.append(lambda: finish_all(store))
    console = Console(force_terminal=True, width=160, record=True, markup=False)
    monkeypatch.setattr(command, "make_console", lambda: console)
    command.status(store.folder, watch=True)
    shown = console.export_text()
    assert shown.index("4 cells: 1 finished") < shown.index("4 cells: 4 finished")
    assert shown.count("4 cells: 1 finished") == 1


def test_ctrl_c_ends_a_watch_with_130(capsbench, store, tmp_path, looks):
    def press():
        raise KeyboardInterrupt

    looks.append(press)
    done = capsbench("status", "--watch", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, "capsbench: interrupted\n")


def test_a_cell_whose_process_died_is_lost(capsbench, store, tmp_path):
    (path,) = (store.folder / "leases").iterdir()
    facts = json.loads(path.read_text())
    facts["holder"]["born"] = "1"
    path.write_text(json.dumps(facts))
    done = capsbench("status", cwd=tmp_path).stdout
    assert "1 finished, 2 waiting, 1 failed\n" in done
    assert [line for line in done.splitlines() if line.startswith("lost: em x3, seed 2: ")]


def test_the_first_of_many_cells_are_listed(capsbench, store, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "MOST_FAILED", 2)
    for seed in range(10, 14):
        store.write(make_failed(make_capsules(seed=seed), "the loss became nan"))
    lines = capsbench("status", cwd=tmp_path).stdout.splitlines()
    assert len([line for line in lines if line.startswith("failed: ")]) == 2
    assert [line for line in lines if "3 more failed" in line]


@pytest.mark.parametrize("text", TEXTS)
def test_no_terminal_acts_on_what_a_folder_says(capsbench, tmp_path, text):
    store = Store(tmp_path / "results")
    store.write(make_failed(make_capsules(options={"routing.mine": text}), text))
    store.write(make_failed(make_capsules(options={"routing.mine": "other"}), text))
    for seed, is_stale in ((1, False), (2, True)):
        leases = Leases(store.folder)
        leases.describe(CELLS[seed].id, Activity(text, text, 0.5, 1, 2, 0.25, text, 1.0))
        leases.take(CELLS[seed].id)
        path = store.folder / "leases" / f"{CELLS[seed].id}.1.json"
        facts = json.loads(path.read_text())
        facts["holder"] |= {"born": "1"} if is_stale else {"host": text}
        path.write_text(json.dumps(facts))
    done = capsbench("status", cwd=tmp_path)
    assert done.returncode == 0
    assert acts(done.stdout) == acts(done.stderr) == []
    starts = [line.partition(": ")[0] for line in done.stdout.splitlines()]
    assert [starts.count(start) for start in ("lost", "failed", "size")] == [1, 2, 1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (200_000, "2.3 days")],
)
def test_durations_are_spelled_in_few_digits(seconds, text):
    assert _spell_seconds(seconds) == text
