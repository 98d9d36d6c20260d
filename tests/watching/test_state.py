"""The state of each cell, by its record, its run and its lease."""

from dataclasses import replace

import pytest

from capsbench.records.record import TRAINING, Failure, Measurement, Run
from capsbench.records.sharing.activity import Activity
from capsbench.records.sharing.leases import Lease
from capsbench.records.sharing.process import Process
from capsbench.watching.state import Cells, RunningCell
from tests.making import make_capsules, make_failed, make_record

CELLS = [make_capsules(seed=seed) for seed in range(5)]
HOLDER = Process("node-3", 4711, "boot", "1")
STARTING = Activity()


def make_run(cells, sequence=1, **facts):
    return Run(f"{sequence:06}", "2026-01-01", "capsbench run", [cell.id for cell in cells], sequence=sequence, **facts)


def make_lease(cell, activity=STARTING, *, seconds=10.0, is_stale=False):
    return Lease(cell.id, 1, "token", HOLDER, seconds, activity, is_stale)


def finish(cell, seconds=12.0, measuring=0.0):
    record = make_record(cell, measured=["accuracy"], seconds=seconds)
    measures = {"accuracy": replace(record.measures["accuracy"], seconds=measuring)}
    return replace(record, measures=measures)


def sort_cells(records=(), runs=(), leases=(), *, latest=False):
    cells = Cells(records, runs, leases, latest=latest)
    seeds = {cell.id: cell.seed for cell in CELLS}
    return {state: [seeds[cell_id] for cell_id in ids] for state, ids in cells.by_state.items()}


def test_each_cell_is_in_one_state():
    records = [finish(CELLS[0]), make_record(CELLS[1], measured=["accuracy"], wanted=["speed"]), make_failed(CELLS[2])]
    states = sort_cells(records, [make_run(CELLS)], [make_lease(CELLS[3])])
    assert states == {"finished": [0], "trained": [1], "failed": [2], "running": [3], "waiting": [4]}


def test_a_trained_cell_of_which_a_measure_failed_has_failed():
    record = make_record(CELLS[0], measured=["accuracy"], wanted=["speed"], failures={"speed": "no GPU"})
    assert sort_cells([record]) == {"failed": [0]}


def test_a_cell_that_a_fresh_run_left_waits_whatever_is_on_record():
    record = finish(CELLS[0])
    trained_by = [replace(record, training=replace(record.training, run=number)) for number in (1, 2)]
    runs = [make_run(CELLS[:1]), make_run(CELLS[:1], 2, anew=[CELLS[0].id])]
    assert sort_cells(trained_by[:1], runs) == {"waiting": [0]}
    assert sort_cells(trained_by[1:], runs) == {"finished": [0]}


def test_a_cell_of_several_runs_counts_once_and_the_latest_run_alone_on_request():
    runs = [make_run(CELLS[:3], 1), make_run(CELLS[2:4], 2)]
    assert sort_cells([finish(CELLS[0])], runs) == {"finished": [0], "waiting": [1, 2, 3]}
    assert sort_cells([finish(CELLS[0])], runs, [make_lease(CELLS[0])], latest=True) == {"waiting": [2, 3]}


def test_a_cell_of_no_run_counts_by_its_record_or_lease():
    assert sort_cells([finish(CELLS[0])], leases=[make_lease(CELLS[1])]) == {"finished": [0], "running": [1]}


def test_a_cell_is_found_by_an_identity_that_it_had():
    record = replace(finish(CELLS[0]), aliases=["0123456789ab"])
    run = replace(make_run([]), cells=["0123456789ab"])
    assert sort_cells([record], [run]) == {"finished": [0]}


def test_a_running_cell_has_what_its_lease_tells():
    activity = Activity("em x3", "training", 0.5, 2, 4, 0.25, "accuracy 50.0%", 12.5)
    (running,) = Cells([], [], [make_lease(CELLS[0], activity)], latest=False).running
    assert running == RunningCell(
        CELLS[0].id, "em x3", "node-3", 4711, 10.0, "training", 0.5, 2, 4, 0.25, "accuracy 50.0%", 12.5
    )


def test_a_running_cell_without_a_title_has_that_of_its_record():
    (running,) = Cells([finish(CELLS[0])], [], [make_lease(CELLS[0])], latest=False).running
    assert running.title == CELLS[0].title


def test_a_cell_whose_holder_has_died_is_lost_until_somebody_finishes_it():
    leases = [make_lease(CELLS[seed], Activity(f"em {seed}"), is_stale=True) for seed in (0, 1)]
    cells = Cells([finish(CELLS[0])], [make_run(CELLS[:2])], leases, latest=False)
    assert (cells.running, [cell.title for cell in cells.lost]) == ([], ["em 1"])
    assert cells.of("waiting") == [CELLS[1].id]


def test_a_failed_cell_has_its_reason_and_a_title_among_all_on_record():
    cells = [make_capsules(learning_rate=rate) for rate in (0.1, 0.2)]
    records = [make_failed(cells[0], "the loss became nan"), finish(cells[1])]
    (failed,) = Cells(records, [], [], latest=False).describe_failed()
    assert (failed.cell, failed.reason) == (cells[0].id, "the loss became nan")
    assert failed.title == "matrix-capsules em x3 tiny, digits, learning rate 0.1, seed 0"


def test_a_network_that_failed_when_it_was_trained_again_has_failed():
    record = replace(finish(CELLS[0]), failures={TRAINING: Failure("the loss became nan")})
    assert sort_cells([record]) == {"failed": [0]}


TRAINING_NOW = Activity("em x3", "training", 0.5, seconds_left=20.0)


@pytest.mark.parametrize(
    ("records", "leases", "seconds"),
    [
        ([], [], None),  # nothing runs
        ([finish(CELLS[0])], [], None),
        ([], [make_lease(CELLS[1])], None),  # nothing is known
        ([], [make_lease(CELLS[1], TRAINING_NOW, seconds=10)], 20 + 4 * 30),
        ([finish(CELLS[0], 40)], [make_lease(CELLS[1], TRAINING_NOW)], 20 + 3 * 40),
        ([finish(CELLS[0], 40)], [make_lease(CELLS[1])], 4 * 40),
        ([finish(CELLS[0], 40, 5)], [make_lease(CELLS[1], TRAINING_NOW)], 20 + 3 * 40 + 4 * 5),
        ([finish(CELLS[0], 40)], [make_lease(CELLS[seed], TRAINING_NOW) for seed in (1, 2)], (2 * 20 + 2 * 40) / 2),
        ([finish(CELLS[seed], 1) for seed in range(4)], [make_lease(CELLS[4], TRAINING_NOW)], 20),
    ],
)
def test_the_time_left_goes_by_the_cells_on_record_and_the_number_that_run(records, leases, seconds):
    assert Cells(records, [make_run(CELLS)], leases, latest=False).estimate_seconds_left() == seconds


def test_a_trained_cell_takes_as_long_as_its_missing_measures_did_elsewhere():
    trained = make_record(CELLS[1], measured=["accuracy"], wanted=["speed", "affine"])
    speed = replace(trained, cell=CELLS[2], measures={"speed": Measurement(seconds=7.0)}, wanted=["speed"])
    leases = [make_lease(CELLS[3], TRAINING_NOW)]
    cells = Cells([trained, speed], [make_run(CELLS[1:4])], leases, latest=False)
    # The cell in training takes the mean of what was wanted: 7 s of the speed of both, and nothing else is known.
    assert cells.estimate_seconds_left() == 20 + 7 + 7


def test_no_cell_that_runs_takes_longer_than_all_together():
    leases = [make_lease(CELLS[0], TRAINING_NOW), make_lease(CELLS[1], replace(TRAINING_NOW, seconds_left=1.0))]
    assert Cells([], [make_run(CELLS[:2])], leases, latest=False).estimate_seconds_left() == 20
