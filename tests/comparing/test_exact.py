"""Numbers that have to be equal: counts of parameters and FLOPs, and bits of one machine."""

from dataclasses import replace

import pytest

from capsbench.comparing.exact import find_changed_bits, find_changed_counts, find_collapsed
from capsbench.comparing.pairing import Pairing
from capsbench.comparing.side import read_side
from capsbench.measures.spec import Judged, MeasureSpec, Metric
from capsbench.records.record import Measurement, Row
from tests.comparing.records import record, write
from tests.making import FINE, counted, with_rows


@pytest.fixture
def pair(tmp_path):
    def make(before, now):
        return Pairing(*(read_side(write(tmp_path / name, of), name) for name, of in (("a", before), ("b", now))))

    return make


def test_counts_are_those_of_the_reference_whatever_the_seed(pair):
    assert list(find_changed_counts(pair([record(0.9, parameters=1000)], [record(0.8, 1, parameters=1000)]))) == []


def test_another_count_is_a_regression(pair):
    before = [record(0.9, seed, parameters=parameters) for seed, parameters in enumerate((1000, 1200))]
    parameters, flops = find_changed_counts(pair(before, [record(0.9, 1, parameters=1000)]))
    assert (parameters.kind, parameters.name) == ("regression", "parameters")
    assert parameters.text == "parameters: 1,200 in the reference, now 1,000"
    assert flops.text == "FLOPs an image: 2,400 in the reference, now 2,000"


def test_counts_of_another_seed_are_held_against_those_of_all_seeds(pair):
    before = [record(0.9, seed, parameters=parameters) for seed, parameters in enumerate((1000, 1200))]
    assert list(find_changed_counts(pair(before, [record(0.9, 7, parameters=1200)]))) == []
    parameters, _ = find_changed_counts(pair(before, [record(0.9, 8, parameters=1100)]))
    assert parameters.text == "parameters: 1,000 or 1,200 in the reference, now 1,100"


def count_own(seed, *values):
    """A record of an exact number of a user's own measure, at one condition for each value, of the levels 0, 0.5, ..."""
    spec = MeasureSpec("mine", (Metric("count", "images", judged=(Judged("count", rule="exact"),)),))
    rows = [Row("mine", "count", f"c{n}", value, "images", n / 2) for n, value in enumerate(values)]
    trained = record(0.9, seed, measure="accuracy")
    measures = {**trained.measures, "own:Mine": Measurement(rows, declaration=spec)}
    return replace(trained, measures=measures, wanted=[*measures])


@pytest.mark.parametrize(
    ("now", "text"),
    [
        ([(1.0, 2.0), (3.0, 4.0)], None),
        ([(1.25, 2.0), (3.0, 4.0)], "1 in the reference, now 1.25"),
        (
            [(2.0, 1.0), (3.0, 4.0)],
            "1 in the reference, now 2 (c0 0, seed 0); 2 in the reference, now 1 (c1 0.5, seed 0)",
        ),
        (
            [(3.0, 2.0), (1.0, 4.0)],
            "1 in the reference, now 3 (c0 0, seed 0); 3 in the reference, now 1 (c0 0, seed 1)",
        ),
        (
            [(9.0, 9.0), (9.0, 9.0)],
            "1 in the reference, now 9 (c0 0, seed 0); 3 in the reference, now 9 (c0 0, seed 1); "
            "2 in the reference, now 9 (c1 0.5, seed 0); and 1 more",
        ),
    ],
    ids=["same", "a fraction more", "conditions swapped", "seeds swapped", "many"],
)
def test_exact_numbers_are_compared_by_seed_condition_and_level(pair, now, text):
    before = [count_own(0, 1.0, 2.0), count_own(1, 3.0, 4.0)]
    findings = find_changed_counts(pair(before, [count_own(seed, *values) for seed, values in enumerate(now)]))
    assert [finding.text for finding in findings] == ([] if text is None else [f"count: {text}"])


def test_an_exact_number_is_shown_with_all_of_its_digits(pair):
    (finding,) = find_changed_counts(pair([count_own(0, 0.1 + 0.2)], [count_own(0, 1e30)]))
    assert finding.text == "count: 0.30000000000000004 in the reference, now 1e+30"


def test_equal_bits_are_counted_and_times_are_none(pair):
    findings, identical = find_changed_bits(pair([record(0.9, step=10.0)], [record(0.9, step=11.0)]))
    assert (findings, identical) == ([], 1)


def test_other_bits_are_named_by_their_measures_and_seed(pair):
    (finding,), identical = find_changed_bits(
        pair([record(0.9, 0), record(0.8, 1)], [record(0.91, 0, area=0.71), record(0.8, 1)])
    )
    assert (finding.kind, finding.name, identical) == ("changed", "bits", 1)
    assert finding.text.startswith("2 numbers of seed 0 ")
    assert finding.text.endswith("(accuracy, affine)")


@pytest.mark.parametrize(
    "now", [record(0.8, 1), record(0.8, 0, provenance={"cpu": "another"}), record(0.8, 0, threads=3)]
)
def test_of_another_seed_machine_or_cell_no_bits_are_expected(pair, now):
    assert find_changed_bits(pair([record(0.9, 0)], [now])) == ([], 0)


def test_a_number_that_is_gone_is_a_change_unless_its_condition_is_another_network(pair):
    known = record(0.9)
    beside = Row("accuracy", "accuracy", "class 3", 0.5, "fraction")
    (finding,), _ = find_changed_bits(pair([with_rows(known, [*known.rows, beside])], [known]))
    assert finding.kind == "changed"
    assert finding.text.startswith("1 numbers of seed 0 ")


def test_a_collapsed_contender_is_a_regression(pair):
    flat = counted(record(0.12, 1), images=500, predicted=490, labelled=52, right=62)
    (finding,) = find_collapsed(pair([counted(record(0.9), **FINE)], [flat]))
    assert (finding.kind, finding.name) == ("regression", "collapse")
