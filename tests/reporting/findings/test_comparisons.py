"""Numbers of capsule networks against those of their CNNs, in a folder whose numbers the test chooses."""

from __future__ import annotations

import math

import pytest

from capsbench.presenting.naming import no_defaults
from capsbench.reporting.findings.comparisons import (
    Compared,
    Folder,
    Pair,
    compare_pairs,
    find_numbers,
    is_count,
    is_ratio,
)
from capsbench.reporting.findings.questions import AskedNumber

ACCURACY = AskedNumber(measure="accuracy")
FLOPS = AskedNumber(measure="cost", metric="flops", condition="inference", title="operations")
STEP = AskedNumber(measure="speed", metric="latency p50", condition="training step", title="time")
POSES = AskedNumber(measure="equivariance", metric="R^2", condition="all", title="poses")


def compare(asked: AskedNumber, folder: Folder) -> list[Compared]:
    return [compared for number in find_numbers(asked, folder.material) for compared in compare_pairs(folder, number)]


def test_an_accuracy_has_the_verdict_of_the_headline_table(folder: Folder) -> None:
    rows = folder.material.summary.set_index("contender")
    found = compare(ACCURACY, folder)
    assert sorted(round(compared.find_ends()[0], 6) for compared in found) == [20, 25]
    for compared in found:
        mean, low, high = compared.find_ends()
        assert 0 < low < mean < high
        assert high - mean == pytest.approx(rows.loc[compared.pair.capsules, "difference_ci95.matched"])
        assert rows.loc[compared.pair.capsules, "baseline"] == compared.pair.cnn
        assert compared.spell_numbers().endswith(f"{mean:+.1f} ± {high - mean:.1f} points")


def test_one_seed_has_no_interval(larger_cnn: Folder) -> None:
    (compared,) = compare(ACCURACY, larger_cnn)
    assert compared.find_ends()[0] == pytest.approx(10)
    assert all(math.isnan(end) for end in compared.find_ends()[1:])
    assert (compared.pair.ratio, compared.pair.is_equal_in_size) == (3, False)
    assert "3 times the parameters" in compared.spell_numbers()


def test_costs_are_ratios(folder: Folder) -> None:
    count, time = compare(FLOPS, folder)[0], compare(STEP, folder)[0]
    assert (is_ratio(count.number), is_count(count.number)) == (True, True)
    assert (is_ratio(time.number), is_count(time.number)) == (True, False)
    assert sorted(compared.find_ends() for compared in compare(FLOPS, folder)) == [(3.0, 3.0, 3.0), (4.0, 4.0, 4.0)]
    assert count.on == "digits, tiny"  # no budget changes a count
    assert sorted(compared.find_ends()[0] for compared in compare(STEP, folder)) == [4.0, 8.0]
    assert math.isnan(time.find_ends()[1])


def test_a_number_of_no_contest_adds_to_the_comparisons(folder: Folder) -> None:
    more = Folder(folder.path, 5, no_defaults)
    assert more.comparisons == folder.comparisons + 5 * 2
    for few, many in zip(compare(POSES, folder), compare(POSES, more), strict=True):
        assert few.verdict.difference == many.verdict.difference
        assert many.verdict.half > few.verdict.half


@pytest.mark.parametrize("measure", ["overlap", "no such measure"])
def test_what_was_not_measured_is_not_compared(folder: Folder, measure: str) -> None:
    assert compare(AskedNumber(measure=measure), folder) == []


@pytest.mark.parametrize(("ratio", "is_equal"), [(1.0, True), (0.985, True), (1.03, False), (math.nan, False)])
def test_sizes_are_equal_within_two_per_cent(ratio: float, is_equal: bool) -> None:
    pair = Pair("em", "cnn", ratio)
    assert pair.is_equal_in_size is is_equal
    assert bool(pair.spell_size()) is (not is_equal and not math.isnan(ratio))


def test_what_nobody_tuned_says_so(folder: Folder) -> None:
    assert folder.spell_budget("digits, tiny, 30 epochs") == "digits, tiny, 30 epochs, not tuned"
    assert folder.spell_budget("digits, tiny, 30 epochs, tuned 9") == "digits, tiny, 30 epochs, tuned 9"
