"""A number on record and its reproduction: when they agree."""

import pytest
from scipy import stats

from capsbench.presenting.steps import Steps
from capsbench.records.record import Row
from capsbench.reproducing.numbers import Agreement, compare_numbers, find_first_other_epoch
from tests.making import make_capsules, make_record

IMAGES = Row("accuracy", "images", "test", 500.0, "images")


def test_each_number_has_its_agreement() -> None:
    before = [
        Row("training", "parameters", "network", 100.0, "parameters"),
        Row("training", "duration", "network", 3.0, "s"),
        Row("accuracy", "accuracy", "test", 0.9, "fraction"),
        Row("accuracy", "nll", "test", 0.25, "nats"),
        Row("cost", "flops", "inference", 1e6, "FLOP/image"),
        Row("affine", "accuracy", "rotation", 0.8, "fraction", 15.0),
        Row("affine", "accuracy", "rotation", 0.6, "fraction", 30.0),
        Row("speed", "latency p50", "inference", 1.0, "ms"),
    ]
    now = [
        before[0],
        before[1]._replace(value=4.0),
        before[2]._replace(value=0.902),
        before[3]._replace(value=0.26),
        before[4]._replace(value=2e6),
        before[5]._replace(value=0.5),
    ]
    cell = make_capsules()
    records = make_record(cell, [IMAGES, *before]), make_record(cell, [IMAGES, *now])
    compared = compare_numbers(*records, ["accuracy", "cost", "affine"], Steps(records))
    assert {number.title: number.agreement for number in compared} == {
        "training parameters network": Agreement.SAME,
        "training duration network": Agreement.TIME,
        "accuracy images test": Agreement.SAME,
        "accuracy accuracy test": Agreement.WITHIN,
        "accuracy nll test": Agreement.OPEN,
        "cost flops inference": Agreement.OUTSIDE,
        "affine accuracy rotation 15": Agreement.OUTSIDE,
        "affine accuracy rotation 30": Agreement.MISSING,
    }
    # three shares of 500 images, so that each has a level of 0.05 / 3
    known = stats.binomtest(451, 500).proportion_ci(1 - 0.05 / 3, method="wilson")
    accuracy = next(number for number in compared if number.agreement is Agreement.WITHIN)
    assert (accuracy.low, accuracy.high) == pytest.approx((known.low, known.high))


@pytest.mark.parametrize(
    ("losses", "first"), [((0.5, 0.25), None), ((0.5, 0.2), 2), ((0.4, 0.25), 1), ((0.5,), 2), ((0.5, 0.25, 0.1), 3)]
)
def test_a_training_curve_is_compared_without_its_times(losses: tuple[float, ...], first: int | None) -> None:
    before = [{"loss": 0.5, "seconds": 1.0}, {"loss": 0.25, "seconds": 2.0}]
    assert find_first_other_epoch(before, [{"loss": loss, "seconds": 7.0} for loss in losses]) == first
