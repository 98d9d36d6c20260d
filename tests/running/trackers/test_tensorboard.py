"""TensorBoard reads back what was written, with its own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.api_pb2 import Status as SessionStatus
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import capsbench
from capsbench.running.events import MeasuringAlone
from capsbench.running.trackers.tensorboard import TensorBoardTracker
from capsbench.training.loop import EpochEnded
from tests.making import make_capsules
from tests.running.trackers.events import (
    ACCURACY,
    CELL,
    HISTORY,
    LATENCY,
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


@pytest.fixture
def tracker(tmp_path: Path) -> TensorBoardTracker:
    return TensorBoardTracker(tmp_path / "tensorboard")


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def read_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value) of each point."""
    events = read(folder)
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def read_session(folder: Path) -> dict[str, Any]:
    """The start and the end of the session in the table of hyperparameters."""
    contents = read(folder).PluginTagToContent("hparams")
    parsed = {tag.rpartition("/")[2]: HParamsPluginData.FromString(content) for tag, content in contents.items()}
    return {
        "start": parsed["session_start_info"].session_start_info.hparams,
        "end": SessionStatus.Name(parsed["session_end_info"].session_end_info.status)
        if "session_end_info" in parsed
        else None,
    }


def test_a_cell_is_a_folder_with_curves_numbers_and_hyperparameters(tracker: TensorBoardTracker) -> None:
    measured = [*measure("accuracy", ACCURACY), *measure("affine", ROTATED)]
    notify_all(tracker, start(), train(), measured, end(ACCURACY, ROTATED))
    (folder,) = tracker.folder.iterdir()
    assert folder.name == f"{TITLE}, {CELL.id}"
    scalars = read_scalars(folder)
    assert scalars.pop("learning_rate") == [(1, pytest.approx(0.002)), (2, pytest.approx(0.001))]
    assert scalars == {
        "loss": [(1, 0.75), (2, 0.25)],
        "validation_accuracy": [(1, 0.5), (2, 0.875)],
        "training/parameters/network": [(0, 28_000.0)],
        "accuracy/accuracy/test": [(0, 0.8125)],
        "affine/R^2/Linf, rotation 30": [(0, 0.5)],
    }
    session = read_session(folder)
    assert session["start"]["routing"].string_value == "em"
    assert session["start"]["iterations"].number_value == 3
    assert session["start"]["reconstruction"].bool_value is False
    assert session["end"] == "STATUS_SUCCESS"


def test_an_epoch_can_be_read_while_the_next_one_trains(tracker: TensorBoardTracker) -> None:
    notify_all(tracker, start(), report(EpochEnded(HISTORY[0])))
    (folder,) = tracker.folder.iterdir()
    assert read_scalars(folder)["loss"] == [(1, 0.75)]
    tracker.close()
    assert read_session(folder)["end"] is None


def test_a_failure_has_its_reason(tracker: TensorBoardTracker) -> None:
    notify_all(tracker, start(), report(EpochEnded(HISTORY[0])), fail("the loss became nan"))
    (folder,) = tracker.folder.iterdir()
    assert read_session(folder)["end"] == "STATUS_FAILURE"
    (failure,) = read(folder).Tensors("failure/text_summary")
    assert failure.tensor_proto.string_val == [b"the loss became nan"]


def test_later_measures_go_into_the_folder_of_the_latest_training(tracker: TensorBoardTracker) -> None:
    for _ in range(2):
        notify_all(tracker, start(), train(), end(wanted=["speed"]))
        tracker.close()
    other = make_capsules(seed=1)
    notify_all(tracker, start(CELL, other), train(cell=other), end(cell=other))
    notify_all(tracker, [MeasuringAlone(CELL, ("speed",))], measure("speed", LATENCY))
    first, second, third = sorted(tracker.folder.iterdir())
    assert (second.name, third.name[-12:]) == (f"{first.name} (2)", other.id)
    assert "speed/latency p50/inference" not in read_scalars(first)
    assert read_scalars(second)["speed/latency p50/inference"] == [(0, 2.5)]
    assert read_scalars(second)["loss"] == [(1, 0.75), (2, 0.25)]


def test_the_tenth_training_is_later_than_the_second(tracker: TensorBoardTracker) -> None:
    for suffix in ("", *(f" ({number})" for number in range(2, 11))):
        (tracker.folder / f"a title, {CELL.id}{suffix}").mkdir(parents=True)
    notify_all(tracker, start(), measure("speed", LATENCY))
    tracker.close()
    (file,) = tracker.folder.rglob("events.*")
    assert file.parent.name.endswith("(10)")


@pytest.mark.usefixtures("in_one_process")
def test_a_run_is_tracked_once(tmp_path: Path) -> None:
    request = dict(routing="dynamic", iters=1, seeds=0, baseline="none", train_size=20, epochs=2, measure="accuracy")
    outcome = capsbench.run(out=tmp_path, track="tensorboard", **request)
    (folder,) = (tmp_path / "tracking" / "tensorboard").iterdir()
    scalars = read_scalars(folder)
    table = capsbench.load(tmp_path)
    (accuracy,) = table[(table["metric"] == "accuracy") & (table["condition"] == "test")]["value"]
    assert folder.name.endswith(outcome.finished[0])
    assert scalars["accuracy/accuracy/test"] == [(0, pytest.approx(accuracy))]
    assert [step for step, _ in scalars["loss"]] == [1, 2]
    assert read_session(folder)["end"] == "STATUS_SUCCESS"

    capsbench.run(out=tmp_path, track="tensorboard", **request)
    assert read_scalars(folder) == scalars
    assert len([*folder.parent.rglob("events.*")]) == 1
