"""W&B's files hold what was logged; offline, as by default, so that nothing is sent."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from capsbench.running.trackers.wandb import WandbTracker
from capsbench.training.loop import EpochEnded
from tests.making import make_capsules
from tests.running.trackers.events import (
    ACCURACY,
    CELL,
    HISTORY,
    ROTATED,
    TITLE,
    end,
    fail,
    measure,
    notify_all,
    report,
    start,
    train,
)

pytest.importorskip("wandb", reason="the extra wandb is not installed, see docs/tracking.md")
pytestmark = pytest.mark.filterwarnings("ignore")  # of W&B's dependencies


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WandbTracker:
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    return WandbTracker(tmp_path / "tracking" / "wandb")


HEADER, BLOCK, FIRST, LAST = 7, 32_768, 2, 4


def read_chunks(file: Path) -> Iterator[bytes]:
    """The records of a W&B file, which is a log of LevelDB: chunks in blocks, a record in one chunk or in several."""
    content, position, record = file.read_bytes(), HEADER, b""
    while position + HEADER <= len(content):
        if BLOCK - position % BLOCK < HEADER:
            position += BLOCK - position % BLOCK
            continue
        _, length, part = struct.unpack_from("<IHB", content, position)
        chunk = content[position + HEADER : position + HEADER + length]
        record = chunk if part in (1, FIRST) else record + chunk
        if part in (1, LAST):
            yield record
        position += HEADER + length


def read_items(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def read_run(folder: Path) -> dict[str, Any]:
    """The name, group, configuration, history, summary and exit code of an ended run, whose file W&B's service writes."""
    while (run := parse_run(folder))["exit_code"] is None:
        time.sleep(0.02)
    return run


def parse_run(folder: Path) -> dict[str, Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("*.wandb")
    facts: dict[str, Any] = {"history": [], "summary": {}, "exit_code": None}
    for content in read_chunks(file):
        record = Record.FromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            facts |= {"id": record.run.run_id, "name": record.run.display_name, "group": record.run.run_group}
            facts["config"] = read_items(record.run.config.update)
        elif kind == "history":
            facts["history"].append(read_items(record.history.item))
        elif kind == "summary":
            facts["summary"] |= read_items(record.summary.update)
        elif kind == "exit":
            facts["exit_code"] = record.exit.exit_code
    return facts


def list_runs(tracker: WandbTracker) -> list[Path]:
    return sorted(tracker.folder.glob("offline-run-*"))


def test_a_cell_is_a_run_with_parameters_curves_and_numbers(tracker: WandbTracker) -> None:
    measured = [*measure("accuracy", ACCURACY), *measure("affine", ROTATED)]
    notify_all(tracker, start(), train(), measured, end(ACCURACY, ROTATED))
    (folder,) = list_runs(tracker)
    run = read_run(folder)
    assert (run["name"], run["group"], run["exit_code"]) == (TITLE, TITLE.removesuffix(", seed 0"), 0)
    expected = {"cell": CELL.id, "routing": "em", "iterations": 3, "routing.epsilon": 0.01, "reconstruction": False}
    assert expected.items() <= run["config"].items()
    names = ("epoch", "loss", "validation_accuracy", "learning_rate")
    assert [[point[name] for name in names] for point in run["history"]] == [
        [1, 0.75, 0.5, 0.002],
        [2, 0.25, 0.875, 0.001],
    ]
    numbers = {
        "training/parameters/network": 28_000,
        "accuracy/accuracy/test": 0.8125,
        "affine/R^2/Linf, rotation 30": 0.5,
    }
    assert numbers.items() <= run["summary"].items()


def test_cells_that_train_at_a_time_and_fail_or_are_left(tracker: WandbTracker) -> None:
    failed, left = make_capsules(seed=1), make_capsules(seed=2)
    for cell in (failed, left):
        notify_all(tracker, report(EpochEnded(HISTORY[0]), cell=cell))
    notify_all(tracker, fail("the loss became nan", failed), report(EpochEnded(HISTORY[1]), cell=left))
    tracker.close()
    runs = {run["config"]["seed"]: run for run in map(read_run, list_runs(tracker))}
    assert (runs[1]["exit_code"], runs[1]["summary"]["failure"]) == (1, "the loss became nan")
    assert [point["loss"] for point in runs[1]["history"]] == [0.75]
    assert runs[2]["exit_code"] == 255
    assert [point["loss"] for point in runs[2]["history"]] == [0.75, 0.25]


def test_later_measures_go_into_the_run_of_the_training(tracker: WandbTracker) -> None:
    notify_all(tracker, start(), train(), end(), start(), measure("affine", ROTATED), end(ROTATED))
    training, later = sorted(map(read_run, list_runs(tracker)), key=lambda run: not run["history"])
    assert training["id"] == later["id"]
    assert later["history"] == []
    assert later["summary"]["affine/R^2/Linf, rotation 30"] == 0.5


def test_another_training_of_the_cell_is_another_run(tracker: WandbTracker) -> None:
    notify_all(tracker, start(), train(), end(), start(), train(), end())
    assert len({read_run(folder)["id"] for folder in list_runs(tracker)}) == 2


def test_the_line_about_it_says_how_to_send_what_was_not_sent(tracker: WandbTracker) -> None:
    assert "wandb sync" in tracker.describe()
    tracker.mode = "online"
    assert tracker.describe() == ""
