"""From the events of a run to the runs of a tracker, of which each here is a list of what was logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from capsbench.errors import ProcessFailed
from capsbench.records.cell import Cell
from capsbench.records.record import Row
from capsbench.running.events import MeasuringAlone, NotMeasured
from capsbench.running.trackers import Status, TrackedRun, Tracker, list_parameters, name_number, select_curves
from capsbench.training.loop import EpochEnded, Progress
from tests.making import make_capsules, make_record
from tests.running.trackers.events import (
    ACCURACY,
    CELL,
    HISTORY,
    LATENCY,
    PARAMETERS,
    ROTATED,
    TITLE,
    end,
    fail,
    measure,
    notify_all,
    outdate,
    report,
    start,
    train,
)


class Noted(TrackedRun):
    def __init__(self, cell: Cell, title: str) -> None:
        self.cell, self.title = cell, title
        self.epochs: list[float] = []
        self.values: list[float] = []
        self.ends: list[tuple[Status, str]] = []
        self.pauses = 0

    def log_epoch(self, entry: Mapping[str, float]) -> None:
        self.epochs.append(entry["epoch"])

    def log_numbers(self, rows: Sequence[Row]) -> None:
        self.values += [row.value for row in rows]

    def pause(self) -> None:
        self.pauses += 1

    def end(self, status: Status, reason: str) -> None:
        self.ends.append((status, reason))


class Notes(Tracker):
    """All runs of all cells, in the order of their start."""

    def __init__(self) -> None:
        super().__init__(Path("notes"))
        self.runs: list[Noted] = []

    def start_run(self, cell: Cell, title: str) -> Noted:
        self.runs.append(Noted(cell, title))
        return self.runs[-1]

    def reopen_run(self, cell: Cell) -> Noted | None:
        runs = [run for run in self.runs if run.cell == cell]
        return runs[-1] if runs else None


@pytest.fixture
def notes() -> Notes:
    return Notes()


def test_a_cell_is_one_run_with_its_title_epochs_and_numbers(notes: Notes) -> None:
    notify_all(notes, start(), train(), measure("accuracy", ACCURACY), end(ACCURACY))
    (run,) = notes.runs
    assert (run.cell, run.title) == (CELL, TITLE)
    assert (run.epochs, run.values) == ([1, 2], [28_000.0, 0.8125])
    assert run.ends == [(Status.FINISHED, "")]


def test_the_run_starts_with_the_first_progress_and_an_epoch_is_logged_as_it_ends(notes: Notes) -> None:
    notify_all(notes, start(), report(Progress(0.1, 1, 2, 0.9, None)))
    assert [run.epochs for run in notes.runs] == [[]]
    notify_all(notes, report(EpochEnded(HISTORY[0])))
    assert [run.epochs for run in notes.runs] == [[1]]


def test_cells_that_train_at_a_time_have_a_run_each(notes: Notes) -> None:
    other = make_capsules(seed=1)
    events = zip(train(), train(cell=other), strict=True)
    notify_all(notes, start(CELL, other), *events, end(cell=other), end())
    assert [(run.cell, run.epochs) for run in notes.runs] == [(CELL, [1, 2]), (other, [1, 2])]
    assert all(len(run.ends) == 1 for run in notes.runs)


def test_a_cell_on_record_is_not_shown(notes: Notes) -> None:
    notify_all(notes, start())
    notes.close()
    assert notes.runs == []


def test_what_another_process_finished_is_not_shown(notes: Notes) -> None:
    notify_all(notes, start(), end(ACCURACY))
    assert notes.runs == []


def test_a_measure_taken_later_goes_into_the_run_of_the_training(notes: Notes) -> None:
    notify_all(notes, start(), train(), measure("accuracy", ACCURACY), end(ACCURACY))
    notify_all(notes, start(), measure("affine", ROTATED), end(ACCURACY, ROTATED))
    (run,) = notes.runs
    assert run.values == [28_000.0, 0.8125, 0.5]
    assert run.ends == [(Status.FINISHED, "")] * 2


def test_a_measure_of_an_untracked_training_has_a_run_of_its_own(notes: Notes) -> None:
    notify_all(notes, start(), measure("affine", ROTATED), end(ACCURACY, ROTATED))
    assert [run.values for run in notes.runs] == [[0.5]]


def test_another_training_of_the_cell_is_another_run(notes: Notes) -> None:
    notify_all(notes, start(), train(), end(), start(), train(), end())
    assert [run.epochs for run in notes.runs] == [[1, 2], [1, 2]]


def test_the_run_ends_after_the_measures_that_are_taken_alone(notes: Notes) -> None:
    alone = [MeasuringAlone(CELL, ("speed",))]
    notify_all(notes, start(), train(), measure("accuracy", ACCURACY), end(ACCURACY, wanted=["speed"]))
    (run,) = notes.runs
    assert (run.ends, run.pauses) == ([], 1)
    notify_all(notes, alone, measure("speed", LATENCY))
    assert run.values == [28_000.0, 0.8125, 2.5]
    assert run.ends == [(Status.FINISHED, "")]


def test_a_cell_of_which_only_speed_is_missing_has_its_run_opened_and_ended(notes: Notes) -> None:
    notify_all(notes, start(), [MeasuringAlone(CELL, ("speed", "mine:Time"))], measure("speed", LATENCY))
    assert notes.runs[0].ends == []
    notify_all(notes, measure("mine:Time"))
    assert notes.runs[0].ends == [(Status.FINISHED, "")]


def test_a_failed_training_is_a_failed_run(notes: Notes) -> None:
    notify_all(notes, start(), report(EpochEnded(HISTORY[0])), fail("the loss became nan"))
    assert [(run.epochs, run.ends) for run in notes.runs] == [([1], [(Status.FAILED, "the loss became nan")])]


def test_a_process_that_dies_before_its_first_event_is_a_failed_run(notes: Notes) -> None:
    notify_all(notes, start(), fail("the process died: SIGKILL"))
    assert [run.ends for run in notes.runs] == [[(Status.FAILED, "the process died: SIGKILL")]]


def test_a_failed_second_training_does_not_show_the_numbers_of_the_first(notes: Notes) -> None:
    before = make_record(CELL, [PARAMETERS, ACCURACY], history=HISTORY, wanted=["speed"])
    notify_all(notes, start(), outdate(before, "the loss became nan"))
    (run,) = notes.runs
    assert (run.epochs, run.values, run.ends) == ([], [], [(Status.FAILED, "the loss became nan")])


def test_a_failed_measure_makes_the_run_fail_whenever_it_fails(notes: Notes) -> None:
    failed = report(NotMeasured("affine", ProcessFailed("no memory")))
    notify_all(notes, start(), train(), failed, end(failures={"affine": "no memory"}, wanted=["speed"]))
    notify_all(notes, [MeasuringAlone(CELL, ("speed",))], measure("speed", LATENCY))
    assert notes.runs[0].ends == [(Status.FAILED, "affine: no memory")]

    other = make_capsules(seed=1)
    notify_all(notes, train(cell=other), end(cell=other, wanted=["speed"]), [MeasuringAlone(other, ("speed",))])
    notify_all(notes, end(cell=other, failures={"speed": "no timer"}, wanted=["speed"]))
    assert notes.runs[1].ends == [(Status.FAILED, "speed: no timer")]


def test_what_is_open_at_the_end_was_interrupted(notes: Notes) -> None:
    notify_all(notes, start(), report(EpochEnded(HISTORY[0])))
    notes.close()
    notes.close()
    assert notes.runs[0].ends == [(Status.INTERRUPTED, "")]


def test_a_job_that_starts_again_on_another_machine_logs_no_epoch_twice(notes: Notes) -> None:
    notify_all(notes, start(), report(EpochEnded(HISTORY[0])), train())
    assert [run.epochs for run in notes.runs] == [[1, 2]]


def test_parameters_are_the_fields_and_options_that_have_a_value() -> None:
    parameters = list_parameters(CELL)
    expected: dict[str, Any] = {"cell": CELL.id, "routing": "em", "iterations": 3, "seed": 0, "routing.epsilon": 0.01}
    assert expected.items() <= parameters.items()
    assert "train_size" not in parameters


def test_curves_are_drawn_over_the_epochs() -> None:
    assert select_curves(HISTORY[0]) == {"loss": 0.75, "validation_accuracy": 0.5, "learning_rate": 0.002}


def test_a_number_is_named_by_its_row_and_level() -> None:
    assert name_number(ACCURACY) == "accuracy/accuracy/test"
    assert name_number(ROTATED) == "affine/R^2/Linf, rotation 30"
    assert name_number(ROTATED._replace(level=0.05)) == "affine/R^2/Linf, rotation 0.05"
