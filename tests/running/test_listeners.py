"""Who listens to a run cannot harm it."""

from __future__ import annotations

from typing import Any

import pytest

import capsbench
from capsbench.errors import Kind, UsageError
from capsbench.running.events import CellEnded, JobReported, Remarked
from capsbench.running.listeners import Listeners, name_listeners
from capsbench.training.loop import EpochEnded
from tests.running.trackers.test_base import Notes


class Heard:
    def __init__(self, fails_at: int | None = None) -> None:
        self.events: list[Any] = []
        self.fails_at = fails_at

    def notify(self, event: Any) -> None:
        self.events.append(event)
        if len(self.events) == self.fails_at:
            raise OSError("disk full")


EVENTS = [Remarked("one"), Remarked("two"), Remarked("three")]


def test_one_that_raises_is_named_once_and_told_no_more() -> None:
    display, broken, other = Heard(), Heard(fails_at=2), Heard()
    listeners = Listeners(display, [("broken", broken), ("other", other)])
    for event in EVENTS:
        listeners.notify(event)
    assert broken.events == EVENTS[:2]
    assert other.events == EVENTS
    (remark,) = [event.remark for event in display.events if event not in EVENTS]
    assert "broken" in remark
    assert "OSError: disk full" in remark


def test_a_listener_that_calls_exit_does_not_end_the_run() -> None:
    class Leaves(Heard):
        def notify(self, event: Any) -> None:
            raise SystemExit(1)

    display = Heard()
    Listeners(display, [("leaves", Leaves())]).notify(EVENTS[0])
    assert len(display.events) == 2


def test_ctrl_c_in_a_listener_reaches_the_run() -> None:
    class Pressed(Heard):
        def notify(self, event: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Listeners(Heard(), [("pressed", Pressed())]).notify(EVENTS[0])


def test_trackers_are_closed_at_the_end_and_one_that_fails_then_is_named() -> None:
    class Stuck(Notes):
        def close(self) -> None:
            raise TimeoutError("no answer")

    class Closed(Notes):
        closed = False

        def close(self) -> None:
            self.closed = True

    display, closed = Heard(), Closed()
    with Listeners(display, [("stuck", Stuck()), ("closed", closed)]):
        pass
    assert closed.closed
    (remark,) = display.events
    assert "TimeoutError: no answer" in remark.remark


def test_one_listener_or_several_are_named_by_their_classes() -> None:
    one, other = Heard(), Notes()
    assert name_listeners(None) == []
    assert name_listeners(one) == [("Heard", one)]
    assert name_listeners([one, other]) == [("Heard", one), ("Notes", other)]


@pytest.mark.parametrize("listener", [print, Heard, [Heard(), 3], "tensorboard"])
def test_what_cannot_be_notified_is_refused_before_anything_runs(listener: Any, tmp_path: Any) -> None:
    with pytest.raises(UsageError) as caught:
        capsbench.run(routing="dynamic", out=tmp_path / "r", listener=listener)
    assert (caught.value.kind, caught.value.flag) == (Kind.INVALID, "listener")
    assert not (tmp_path / "r").exists()


@pytest.mark.usefixtures("in_one_process")
def test_a_run_tells_its_listeners_of_each_epoch_and_survives_them(tmp_path: Any) -> None:
    heard, broken = Heard(), Heard(fails_at=3)
    request = dict(routing="dynamic", iters=1, seeds=0, baseline="none", train_size=20, epochs=2, measure="accuracy")
    outcome = capsbench.run(out=tmp_path, listener=[broken, heard], **request)
    assert len(outcome.finished) == 1
    assert len(broken.events) == 3
    (record,) = [event.record for event in heard.events if isinstance(event, CellEnded)]
    entries = [
        event.event.entry
        for event in heard.events
        if isinstance(event, JobReported) and isinstance(event.event, EpochEnded)
    ]
    assert entries == record.history
    assert len(entries) == 2
