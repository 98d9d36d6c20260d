"""Records that every reader can read, whatever a measure gives or a failure says."""

import pytest

from capsbench.errors import ProcessFailed, TrainingFailed
from capsbench.planning.matrix import PlannedCell
from capsbench.records.record import Artifact, Row, Segment
from capsbench.records.store import Store
from capsbench.running.events import Measured, NotMeasured, Trained
from capsbench.running.state import check_row_names, record_failed_measures, record_measure, record_training
from tests.making import make_capsules, make_record

KEPT = Artifact("weights/0123.safetensors", "0" * 64)
MINE = Row("mine", "m", "test", 1.0, "u")
ON_RECORD = record_measure(make_record(make_capsules()), Measured("my:One", [MINE], 1.0, 1, None, None))


@pytest.mark.parametrize(
    ("failure", "reason", "trace"),
    [
        (ValueError("cannot open \udcff.png"), "cannot open \\udcff.png", ""),
        (ProcessFailed("no \ud800", "in \udcfe"), "no \\ud800", "in \\udcfe"),
        (ValueError("\udcff" * 2000), ("\\udcff" * 2000)[:2000], ""),
        (ValueError("\N{GREEK SMALL LETTER EPSILON}"), "\N{GREEK SMALL LETTER EPSILON}", ""),
    ],
)
def test_a_failure_with_lone_surrogates_is_escaped_and_can_be_read(failure, reason, trace, tmp_path):
    record = record_failed_measures(make_record(make_capsules()), ["accuracy"], failure, 3)
    store = Store(tmp_path)
    store.write(record)
    noted = store.read(record.cell.id).failures["accuracy"]
    assert (noted.reason, noted.trace, noted.run) == (reason, trace, 3)


@pytest.mark.parametrize("row", [MINE, MINE._replace(metric="n")])
def test_a_measure_with_the_name_of_another_on_record_fails_alone(row):
    event = check_row_names(ON_RECORD, Measured("my:Two", [row], 1.0, 1, None, None))
    assert isinstance(event, NotMeasured)
    assert isinstance(event.failure, TrainingFailed)
    record = record_measure(ON_RECORD, event)
    assert record.measures == ON_RECORD.measures
    assert record.failures.keys() == {"my:Two"}
    assert "'mine'" in record.failures["my:Two"].reason
    assert "my:One" in record.failures["my:Two"].reason


@pytest.mark.parametrize(
    ("spec", "row"), [("my:One", MINE), ("my:One:full", MINE), ("my:Two", MINE._replace(measure="two"))]
)
def test_a_measure_taken_again_in_another_setting_or_of_another_name_is_recorded(spec, row):
    event = Measured(spec, [row], 1.0, 1, None, None)
    assert check_row_names(ON_RECORD, event) is event


def test_a_failed_measure_stays_failed():
    event = NotMeasured("my:Two", TrainingFailed("no luck"))
    assert check_row_names(ON_RECORD, event) is event


def test_a_record_names_the_machines_that_trained_and_measured():
    parts = [Segment(1, "2026-01-01", 1.0, {"cpu": "here"}), Segment(2, "2026-01-02", 1.0, {"cpu": "there"})]
    trained = Trained([], [], [], {}, KEPT, "2026-01-01", 2.0, provenance={"cpu": "there"}, segments=parts)
    measured = Measured("my:One", [MINE], 1.0, 1, None, None, provenance={"cpu": "elsewhere"})
    record = record_measure(record_training(PlannedCell(make_capsules()), trained), measured)
    assert record.training.provenance == {"cpu": "there"}
    assert record.training.segments == parts
    assert record.measures["my:One"].provenance == {"cpu": "elsewhere"}
