"""What the events and failures of a job change in the record of its cell."""

import pytest

from capsbench.errors import ProcessFailed
from capsbench.planning.matrix import plan_cells
from capsbench.records.record import Row
from capsbench.records.sharing.leases import Leases
from capsbench.records.store import Store
from capsbench.running.events import Measured, Measuring
from capsbench.running.recorder import Recorder
from tests.making import make_record

DIED = ProcessFailed("the process died")


@pytest.fixture
def planned():
    (planned,) = plan_cells(dict(routing="dynamic", seeds=0, baseline="none", measure="accuracy,speed"))
    return planned


@pytest.fixture
def recorder(tmp_path, planned):
    """Of a trained cell, whose lease is held."""
    record = make_record(planned.cell)
    Store(tmp_path).write(record)
    leases = Leases(tmp_path)
    leases.take(record.cell.id)
    recorder = Recorder(Store(tmp_path), leases, {record.cell.id: record})
    recorder.note_stamps([planned.cell])
    return recorder


def measure(spec):
    return Measured(spec, [Row(spec, "m", "test", 1.0, "u")], 1.0, 1, None, None)


def test_the_measure_that_was_underway_has_failed(recorder, planned):
    recorder.record_event(planned, Measuring("accuracy"))
    record = recorder.record_failure(planned, ["accuracy", "speed"], DIED)
    assert {*record.failures} == {"accuracy"}


def test_a_job_that_dies_before_it_measures_does_not_fail_what_an_earlier_one_measured(recorder, planned):
    recorder.record_event(planned, Measuring("accuracy"))
    recorder.record_event(planned, measure("accuracy"))
    record = recorder.record_failure(planned, ["speed"], DIED)
    assert ({*record.failures}, "accuracy" in record.measures) == ({"speed"}, True)
    recorder.record_event(planned, Measuring("speed"))
    assert {*recorder.record_failure(planned, ["speed"], DIED).failures} == {"speed"}
    assert {*recorder.record_failure(planned, [], DIED).failures} == {"speed"}


def test_a_lease_that_nobody_has_is_taken_again(recorder, planned):
    for path in recorder.leases.folder.iterdir():
        path.unlink()
    event = measure("accuracy")
    assert recorder.record_event(planned, event) == event
    assert "accuracy" in recorder.store.read(planned.cell.id).measures
    assert recorder.leases.is_held(planned.cell.id)


@pytest.mark.parametrize("is_recorded", [True, False])
def test_what_comes_after_another_process_took_a_cell_over_is_dropped(recorder, planned, tmp_path, is_recorded):
    for path in recorder.leases.folder.iterdir():
        path.unlink()
    other, record = Leases(tmp_path), recorder.records[planned.cell.id]
    other.take(planned.cell.id)
    assert recorder.record_event(planned, measure("speed")) is None
    assert recorder.record_failure(planned, ["speed"], DIED).failures
    if is_recorded:
        Store(tmp_path).write(record)  # the same content, in another file
    other.release(planned.cell.id)
    assert recorder.holds(planned.cell.id) is not is_recorded
    assert recorder.store.read(planned.cell.id) == record
