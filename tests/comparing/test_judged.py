"""Judged numbers of rows that are chosen, and means and ratios by hand."""

import math
from pathlib import Path

import pytest

from capsbench.comparing.judged import list_judged, mean_by_seed, ratios_to_median
from capsbench.comparing.side import to_experiment
from capsbench.measures.spec import built_in_specs
from capsbench.records.record import Row
from capsbench.records.store import Store
from tests.comparing.records import cell, record

RULES = {rule: list_judged(built_in_specs(), rule) for rule in ("mean", "exact", "time", "check")}


def find_number(title):
    (number,) = (number for numbers in RULES.values() for number in numbers if number.title == title)
    return number


def test_each_rule_has_its_numbers():
    assert {number.title for number in RULES["exact"]} == {"parameters", "parameters at inference", "FLOPs an image"}
    assert {number.title for number in RULES["time"]} == {"time of inference", "time of a training step"}
    assert {number.title for number in RULES["check"]} == {"sanity check of attacks"}
    assert "test accuracy" in {number.title for number in RULES["mean"]}


def test_a_lower_accuracy_is_a_drop_and_a_lower_time_is_none():
    assert find_number("test accuracy").sign_of_drop == 1
    assert find_number("time of inference").sign_of_drop == -1


def test_a_number_is_of_its_measure_metric_and_conditions():
    number = find_number("test accuracy")
    row = Row("accuracy", "accuracy", "test", 0.5, "fraction")
    assert number.is_of(row)
    assert not any(
        map(number.is_of, (row._replace(measure="x"), row._replace(metric="x"), row._replace(condition="x")))
    )
    areas = find_number("area under the affine curves")
    assert areas.is_of(Row("affine", "area under the curve", "whatever", 0.5, "fraction"))
    assert number.name_check(row) == "test accuracy, test"


def test_rows_are_found_by_condition_and_level_and_transfers_by_the_sources_of_their_seed():
    number = find_number("success of transferred attacks")
    rows = [
        Row("transfer", "success rate", name, value, "fraction")
        for name, value in (("own", 0.1), ("other", 0.2), ("x", 0.3))
    ]
    own, other = cell(0, routing="em"), cell(1, routing="em")
    assert number.find_rows(record(0.9, 0, rows=rows), {"own": own, "other": other}) == {
        (to_experiment(own), None): 0.1,
        ("x", None): 0.3,
    }


def test_the_first_row_is_that_of_a_time():
    number = find_number("time of a training step")
    again = Row("speed", "latency p50", "training step", 99.0, "ms")
    assert number.find_time(record(0.9, step=7.0, rows=[again])) == 7.0
    assert find_number("time of inference").find_time(record(0.9)) is None


def test_a_number_is_the_mean_of_its_rows():
    number = find_number("test accuracy")
    assert number.average([0.2, 0.4]) == pytest.approx(0.3)
    assert number.average([]) is None
    assert number.average([0.0]) == 0
    assert number.describe(0.1234) == "12.3 %"


def test_a_relative_number_is_a_logarithm_and_zero_has_none():
    number = find_number("squared error of transformed images")
    assert number.average([2.0, 4.0]) == pytest.approx(math.log(3))
    assert number.average([0.0, 4.0]) is None
    assert number.describe(math.log(12.345)) == "12.35"


def test_a_mean_is_of_the_seeds_that_all_contenders_have():
    assert mean_by_seed([{0: 1.0, 2: 2.0, 1: 5.0}, {2: 4.0, 0: 3.0, 4: 9.0}]) == {0: 2.0, 2: 3.0}


def test_ratios_are_logarithms_of_times_over_the_median_of_their_seed():
    ratios = ratios_to_median({"a": {0: 1.0, 1: 6.0}, "b": {0: 2.0}, "c": {0: 8.0}})
    assert ratios["a"] == {0: pytest.approx(-math.log(2)), 1: 0}
    assert ratios["b"] == {0: 0}
    assert ratios["c"] == {0: pytest.approx(math.log(4))}


def test_every_judged_number_is_one_that_a_measure_gives():
    """As the reference results have them, so that a measure that is renamed does not leave the gate unnoticed."""
    folder = Path(__file__).parents[2] / "results" / "reference"
    records = [record for path in folder.glob("*/records") for record in Store(path.parent).records()[0]]
    judged = list_judged(built_in_specs(), "mean")
    found = {number.title for number in judged if any(number.find_rows(record, {}) for record in records)}
    without = {"images of which all objects are found", "error of novel viewpoints", "success of transferred attacks"}
    without |= {
        "undetected adversarial images",
        "accuracy at other iterations",
        "robust accuracy, vote and output attack",
        "accuracy on new characters",
        "AUROC of out-of-distribution images",
        "error under corruptions",
        "mean average precision",
    }
    assert {number.title for number in judged} - found <= without


def test_an_r2_below_zero_knows_nothing_however_far_below_it_is():
    (number,) = (each for each in list_judged(built_in_specs(), "mean") if each.metric.name == "R^2")
    assert number.average([-1.7]) == number.average([-0.1]) == 0.0
    assert number.average([0.4]) == 0.4
