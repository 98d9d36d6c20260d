"""Numbers that no record may have, the same number twice, and digests of the data."""

from dataclasses import replace

import pytest

from capsbench.records.record import (
    Failure,
    Measurement,
    Row,
    digests_of_data,
    explain_unfit,
    find_repeated_number,
    have_different_data,
)
from tests.making import make_capsules, make_failed, make_record

ACCURACY = Row("accuracy", "accuracy", "test", 0.9, "fraction")
STEP = Row("speed", "latency p50", "training step", 12.0, "ms")


@pytest.mark.parametrize(
    ("row", "fits"),
    [
        (ACCURACY, True),
        (ACCURACY._replace(value=0.0), True),
        (ACCURACY._replace(value=1 + 1e-6), True),  # sums of rounded parts
        (ACCURACY._replace(value=1 + 2e-6), False),
        (ACCURACY._replace(value=-1e-6), True),
        (ACCURACY._replace(value=-2e-6), False),
        (ACCURACY._replace(condition="difference", value=-1.0), True),
        (ACCURACY._replace(condition="difference", value=-1.01), False),
        (ACCURACY._replace(measure="mine:Mine", value=7.0), True),
        (ACCURACY._replace(measure="training", value=7.0), False),
        (STEP, True),
        (STEP._replace(value=-1e30), True),
        (STEP._replace(value=1.1e30), False),
        (STEP._replace(value=float("nan")), False),
        (STEP._replace(value=10**400), False),
        (STEP._replace(level=1e30), True),
        (STEP._replace(level=float("inf")), False),
    ],
)
def test_a_number_that_no_measurement_gives_is_explained(row, fits):
    assert (explain_unfit(row) is None) == fits


def test_the_explanation_has_the_number_and_its_bounds():
    assert explain_unfit(ACCURACY._replace(value=1.5)) == "1.5, which is outside [0, 1]"
    assert explain_unfit(ACCURACY._replace(condition="difference", value=-1.5)) == "-1.5, which is outside [-1, 1]"
    assert explain_unfit(STEP._replace(value=-(10**400))) == "an integer, which is not finite or beyond 1e+30"
    assert explain_unfit(STEP._replace(value=2 * 10**30)).startswith("an integer,")
    assert explain_unfit(STEP._replace(level=1e31)).startswith("1e+31,")


def measure_all(**measures):
    record = make_record(make_capsules())
    return replace(record, measures={spec.replace("_", ":"): Measurement(rows) for spec, rows in measures.items()})


def test_a_number_stands_once_on_a_record_but_for_two_settings_of_its_measure():
    assert find_repeated_number(measure_all(accuracy=[ACCURACY, ACCURACY._replace(condition="validation")])) is None
    assert find_repeated_number(measure_all(accuracy=[ACCURACY], accuracy_full=[ACCURACY])) is None
    again = ACCURACY._replace(value=0.1)
    assert find_repeated_number(measure_all(accuracy=[ACCURACY, again])) == again
    assert find_repeated_number(measure_all(accuracy=[ACCURACY], speed=[again])) == again
    assert find_repeated_number(measure_all(accuracy=[ACCURACY, again._replace(level=0.5)])) is None
    trained = make_record(make_capsules(), [ACCURACY._replace(measure="training")] * 2)
    assert find_repeated_number(trained).measure == "training"
    assert find_repeated_number(make_failed(make_capsules())) is None


def test_a_record_is_outdated_if_its_latest_training_failed():
    record = make_record(make_capsules(), [ACCURACY])
    assert not record.is_outdated
    assert not make_failed(make_capsules()).is_outdated
    outdated = replace(record, failures={"training": Failure("nan"), "speed": Failure("slow")})
    assert outdated.is_outdated
    assert (outdated.status, outdated.reason) == ("finished", "nan")
    assert not replace(record, failures={"speed": Failure("slow")}).is_outdated


def test_data_differ_where_both_records_know_them():
    record = measure_all(affine=[], accuracy=[])
    ours = replace(record, training=replace(record.training, data="a"))
    assert digests_of_data(record) == {}
    assert digests_of_data(ours) == {"training": "a"}
    assert digests_of_data(make_failed(make_capsules())) == {}
    assert not have_different_data(record, ours)
    assert not have_different_data(ours, ours)
    assert have_different_data(ours, replace(record, training=replace(record.training, data="b")))
    affine = [replace(ours, measures={"affine": Measurement([], data=data)}) for data in ("c", "d")]
    assert digests_of_data(affine[0]) == {"training": "a", "affine": "c"}
    assert have_different_data(*affine)
