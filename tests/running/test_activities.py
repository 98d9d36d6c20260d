"""What the jobs of a run tell those who watch it."""

import math

import pytest

from capsbench.records.sharing.activity import Activity
from capsbench.records.sharing.leases import Leases
from capsbench.running.activities import Activities
from capsbench.running.events import Measuring
from capsbench.training.loop import EpochEnded, Progress, Validation

CELL = "0123456789ab"


@pytest.fixture
def told(tmp_path):
    """Notes events at given times, and returns the activity that is told of the cell after each."""
    leases, now = Leases(tmp_path), [0.0]
    activities = Activities(leases, {CELL: "em x3"}, clock=lambda: now[0])

    def note(seconds, event):
        now[0] = seconds
        activities.note_event(CELL, event)
        return leases.activities.get(CELL)

    note.activities = activities
    return note


def test_a_training_tells_its_numbers(told):
    told(0, Progress(0.25, 1, 4, 0.5, None))
    activity = told(1, Progress(0.5, 2, 4, 0.25, Validation("accuracy", 0.5)))
    assert activity == Activity("em x3", "training", 0.5, 2, 4, 0.25, "accuracy 50.0%", 2.0)


def test_the_time_left_goes_by_the_pace_since_the_first_progress(told):
    assert told(100, Progress(0.5, 5, 10, 0.5, None)).seconds_left is None
    assert told(110, Progress(0.75, 7, 10, 0.5, None)).seconds_left == pytest.approx(10)
    assert told(120, Progress(0.75, 7, 10, 0.5, None)).seconds_left == pytest.approx(20)
    assert told(120, Progress(1.0, 10, 10, 0.5, None)).seconds_left == 0


def test_a_loss_that_is_not_finite_is_left_out(told):
    assert told(0, Progress(0.5, 2, 4, math.nan, None)).loss is None


def test_a_measure_tells_its_spec_and_other_events_nothing_new(told):
    told.activities.announce([CELL], "starting")
    assert told(0, EpochEnded({"epoch": 1})) == Activity("em x3", "starting")
    assert told(0, Measuring("speed")) == Activity("em x3", "measuring speed")
    assert told(0, EpochEnded({"epoch": 1})) == Activity("em x3", "measuring speed")
