"""Events travel between processes and machines: each is frozen, and the same after pickling."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, fields
from typing import Any, get_args

import pytest

from capsbench.errors import ProcessFailed
from capsbench.records.record import Artifact, Row
from capsbench.running.events import (
    CellEnded,
    Checkpointed,
    DataLeftOut,
    JobEvent,
    JobReported,
    Measured,
    MeasureLeftOut,
    Measuring,
    MeasuringAlone,
    MeasuringBetween,
    NotMeasured,
    Remarked,
    Resumed,
    RunEvent,
    RunStarted,
    Trained,
)
from capsbench.training.loop import EpochEnded, Progress
from tests.making import make_capsules, make_record

CELL = make_capsules()
ROWS = [Row("accuracy", "accuracy", "test", 0.5, "fraction")]
KEPT = Artifact("kept/accuracy/0123.safetensors", "0" * 64)
JOB_EVENTS: list[Any] = [
    Progress(0.5, 1, 2, 0.25, None),
    EpochEnded({"epoch": 1, "loss": 0.25}),
    Resumed(1, 2),
    Checkpointed(Artifact("checkpoints/0123.safetensors")),
    Remarked("a line about a cell"),
    Trained([{"epoch": 1}], ROWS, ["cpu"], {"network": 1}, KEPT, "2026-01-01", 1.0),
    Measuring("accuracy"),
    Measured("accuracy", ROWS, 1.0, 1, KEPT, None, "0123"),
    NotMeasured("accuracy", ProcessFailed("the process died", "Traceback")),
]
EVENTS: list[Any] = [
    Remarked("a line"),
    DataLeftOut("mnist", 2, "no files"),
    MeasureLeftOut("speed", "no GPU"),
    RunStarted((CELL,), (make_record(CELL),)),
    *(JobReported(CELL, event) for event in JOB_EVENTS),
    CellEnded(make_record(CELL)),
    MeasuringAlone(CELL, ("speed",)),
    MeasuringBetween("transfer", 2),
]


def test_every_event_is_among_the_examples() -> None:
    assert {type(event) for event in JOB_EVENTS} == {*get_args(JobEvent)}
    assert {type(event) for event in EVENTS} == {*get_args(RunEvent)}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_frozen_and_the_same_after_pickling(event: Any) -> None:
    assert repr(pickle.loads(pickle.dumps(event))) == repr(event)
    name = fields(event)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(event, name, None)
