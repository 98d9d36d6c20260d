"""Tests of judged numbers, times and checks on attacks, on pairs whose numbers are chosen."""

import math
from dataclasses import replace

import pytest

from capsbench.comparing.checked import ALL
from capsbench.comparing.pairing import Pairing
from capsbench.comparing.side import read_side
from capsbench.comparing.significance import judge_numbers, judge_sanity_checks, judge_times
from capsbench.measures.spec import Judged, MeasureSpec, Metric
from capsbench.records.record import Measurement, Row
from capsbench.stats.moderation import chance_of_failures
from tests.comparing.records import record, write

NOISE = {0: -0.01, 1: 0.01, 2: 0.0}
OTHER = {"routing": "dynamic", "iters": 1}


@pytest.fixture
def pair(tmp_path):
    """Pairs the records of a reference and of a run."""

    def make(before, now):
        sides = (read_side(write(tmp_path / name, records), name) for name, records in (("a", before), ("b", now)))
        return Pairing(*sides)

    return make


def find_tests(tests, name):
    return {test.contender: test for test in tests if test.name == name}


def score(accuracy, seeds=(0, 1, 2), **request):
    return [record(accuracy + NOISE[seed % 3], seed, **request) for seed in seeds]


def test_a_drop_is_the_reference_less_the_run_in_points(pair):
    tests = judge_numbers(pair(score(0.9), score(0.7, [3])), tolerance=0.01)
    (test,) = find_tests(tests, "test accuracy").values()
    assert test.contender == "capsnet dynamic x3 tiny, digits"
    assert (test.reference, test.current) == ("90.0 %", "69.0 %")
    assert test.drop == pytest.approx(21)
    assert test.worse < 0.01
    assert test.better > 0.99


def test_a_rise_is_a_negative_drop(pair):
    (test,) = find_tests(judge_numbers(pair(score(0.7), score(0.9)), tolerance=0.01), "test accuracy").values()
    assert test.drop == pytest.approx(-20)
    assert test.better < 0.001 < 0.99 < test.worse


def test_a_number_that_should_be_low_drops_where_it_rises(pair):
    def detect(rate, seeds):
        rows = {seed: Row("detection", "undetected rate", "worst case", rate, "fraction", 0.1) for seed in seeds}
        return [record(0.9, seed, rows=[row]) for seed, row in rows.items()]

    tests = judge_numbers(pair(detect(0.2, range(3)), detect(0.3, [3])), tolerance=0.01)
    (test,) = find_tests(tests, "undetected adversarial images").values()
    assert test.drop == pytest.approx(10)


def test_the_tolerance_is_no_regression(pair):
    within, beyond = (
        find_tests(judge_numbers(pair(score(0.9), score(0.85)), tolerance), "test accuracy").popitem()[1]
        for tolerance in (0.06, 0.0)
    )
    assert within.worse > 0.5 > 0.05 > beyond.worse


def test_the_mean_over_contenders_is_of_the_seeds_that_all_have(pair):
    before = [*score(0.9, range(4)), *score(0.8, range(3), **OTHER)]
    now = [*score(0.88, [4, 5]), *score(0.74, [5], **OTHER)]
    tests = find_tests(judge_numbers(pair(before, now), 0.01), "test accuracy")
    assert len(tests) == 3
    # Seeds 0 to 2 of the reference average 0.9 and 0.8, and seed 5 of the run is 0.88 and 0.74.
    assert (tests[ALL].reference, tests[ALL].current) == ("85.0 %", "81.0 %")
    assert tests[ALL].drop == pytest.approx(4)


@pytest.mark.parametrize(("seeds", "count"), [(2, 0), (3, 1)])
def test_a_reference_of_fewer_than_three_seeds_is_not_tested(pair, seeds, count):
    pairing = pair(score(0.9, range(seeds)), score(0.9, [4]))
    assert len(find_tests(judge_numbers(pairing, 0.01), "test accuracy")) == count
    assert len(find_tests(judge_times(pairing, 1.5), "time of a training step")) == count


def test_one_contender_has_no_mean_over_contenders(pair):
    assert ALL not in {test.contender for test in judge_numbers(pair(score(0.9), score(0.9)), 0.01)}
    several = pair([*score(0.9, [0, 1, 2]), *score(0.9, [2, 3, 4], **OTHER)], [*score(0.9), *score(0.9, **OTHER)])
    assert ALL not in {test.contender for test in judge_numbers(several, 0.01)}  # one seed in common


def test_times_are_ratios_to_the_median_of_their_run(pair):
    def time(steps, seeds):
        requests = ({"iters": 1}, {"iters": 2}, {"iters": 3})
        return [
            record(0.9, seed, step=step, routing="dynamic", **request)
            for seed in seeds
            for step, request in zip(steps, requests, strict=True)
        ]

    # A machine of half the speed; the first network is half as fast beside the others as it was, the last twice.
    tests = find_tests(
        judge_times(pair(time([10, 20, 40], range(3)), time([80, 160, 40], [3])), 1.2), "time of a training step"
    )
    by_iterations = [tests[f"capsnet dynamic x{count} tiny, digits"] for count in (1, 2, 3)]
    assert [test.drop for test in by_iterations] == [pytest.approx(drop) for drop in (2, 2, 0.25)]
    assert [(test.reference, test.current) for test in by_iterations] == [
        ("0.50 times the median contender's", "1.00 times"),
        ("1.00 times the median contender's", "2.00 times"),
        ("2.00 times the median contender's", "0.50 times"),
    ]


def attack(failed, **request):
    """A record each seed, whose check on attacks held but for the seeds that failed."""
    rows = [Row("adversarial", "sanity check", "noise far weaker", float(not failure), "held") for failure in failed]
    return [record(0.9, seed, rows=[row], **request) for seed, row in enumerate(rows)]


def test_a_check_on_attacks_is_tested_by_its_failures_over_all_contenders(pair):
    before = [*attack([True, False, False]), *attack([False, False], **OTHER)]
    now = [*attack([True, True]), *attack([False, True], **OTHER)]
    (test,) = judge_sanity_checks(pair(before, now))
    assert (test.contender, test.name) == (ALL, "sanity check of attacks, noise far weaker")
    assert (test.reference, test.current) == ("failed 1 of 5 times", "3 of 4")
    assert test.drop == pytest.approx(100 * (3 / 4 - 1 / 5))
    assert test.worse == chance_of_failures(3, 4, 1, 5)
    assert test.better == chance_of_failures(1, 4, 4, 5)


def test_a_check_that_one_side_alone_has_is_not_tested(pair):
    assert list(judge_sanity_checks(pair(score(0.9), attack([True])))) == []
    assert list(judge_sanity_checks(pair(attack([True]), score(0.9)))) == []


def take_own_checks(seed, **held):
    """A record of two users' own measures: measure -> condition -> whether the check of its one metric held."""
    checks = tuple(Judged(title, (title,), rule="check") for title in ("first", "second"))
    trained = record(0.9, seed, measure="accuracy")
    own = {
        f"mine:{name}": Measurement(
            [Row(name, "check", condition, float(value), "held") for condition, value in by_condition.items()],
            declaration=MeasureSpec(name, (Metric("check", "held", judged=checks),)),
        )
        for name, by_condition in held.items()
    }
    measures = {**trained.measures, **own}
    return replace(trained, measures=measures, wanted=[*measures])


def test_checks_are_tested_each_though_they_share_a_metric_or_a_title(pair):
    before = [take_own_checks(seed, a=dict(first=1, second=1), b=dict(first=1)) for seed in range(3)]
    now = [take_own_checks(3, a=dict(first=0, second=1), b=dict(first=1))]
    tests = [(test.name, test.reference, test.current) for test in judge_sanity_checks(pair(before, now))]
    assert sorted(tests) == [
        ("first, first", "failed 0 of 3 times", "0 of 1"),
        ("first, first", "failed 0 of 3 times", "1 of 1"),
        ("second, second", "failed 0 of 3 times", "0 of 1"),
    ]


def test_an_error_of_its_own_unit_is_judged_as_a_factor(pair):
    def transform(error, seeds):
        rows = [Row("transformation", "squared error", "inside", error, "per image")]
        return [record(0.9, seed, rows=rows) for seed in seeds]

    tests = judge_numbers(pair(transform(4.0, range(3)), transform(8.0, [3])), tolerance=0.01)
    (test,) = find_tests(tests, "squared error of transformed images").values()
    assert (test.reference, test.current) == ("4", "8")
    assert test.drop == pytest.approx(100 * math.log(2))
