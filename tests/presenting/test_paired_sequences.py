"""Pairs whose seeds were added until they were decided have the verdict of the group-sequential test."""

from __future__ import annotations

import pytest

from capsbench.presenting.contenders import verdicts_of
from capsbench.presenting.paired import describe_sequences, find_sequences
from capsbench.records.record import Run
from capsbench.stats.sequential import LEVELS
from capsbench.stats.verdicts import Outcome

NOISE = [0.004, -0.003, 0.001, -0.002, 0.003, 0.0, -0.001, 0.002]


def run(*decides: str) -> Run:
    return Run("000001", "2026-01-01", "capsbench run", [], decides=[*decides])


def test_the_pairs_are_those_of_the_notes() -> None:
    assert find_sequences([run(), run("a", "b"), run("b", "a"), run("a", "a")]) == {frozenset("ab")}


def test_a_line_names_each_pair_of_the_page() -> None:
    runs = [run("a", "b"), run("b", "c")]
    (line,) = describe_sequences(runs, {"a": "em", "b": "dynamic"})
    assert line.startswith("em and dynamic: ")


@pytest.fixture
def records(capsules, matched):
    ours = [capsules(0.93 + noise, seed=seed) for seed, noise in enumerate(NOISE[:5])]
    return [*ours, *(matched(0.925 + noise / 2, seed=seed) for seed, noise in enumerate(reversed(NOISE[:5])))]


def test_a_difference_of_five_percent_is_not_enough_at_an_early_look(records) -> None:
    one, other = records[0].cell.contender, records[-1].cell.contender
    fixed = verdicts_of(records).of_accuracy(one, other)
    added = verdicts_of(records, sequences={frozenset((one, other))}).of_accuracy(one, other)
    assert fixed is not None
    assert added is not None
    assert added.difference.mean == fixed.difference.mean
    assert added.p == pytest.approx(min(1.0, fixed.p * 0.05 / LEVELS[1]))
    assert added.half > fixed.half
    assert added.outcome is Outcome.NOT_SIGNIFICANT


def test_its_interval_excludes_0_exactly_if_it_is_decided(capsules, matched) -> None:
    for shift in (0.001, 0.02, 0.2):
        records = [capsules(0.7 + shift + noise, seed=seed) for seed, noise in enumerate(NOISE)]
        records += [matched(0.7 - noise / 3, seed=seed) for seed, noise in enumerate(NOISE)]
        one, other = records[0].cell.contender, records[-1].cell.contender
        verdict = verdicts_of(records, sequences={frozenset((one, other))}).of_accuracy(one, other)
        assert verdict is not None
        assert (verdict.outcome is Outcome.DIFFERENT) == (abs(verdict.difference.mean) > verdict.half)


def test_seeds_beyond_the_last_look_do_not_count(records, capsules) -> None:
    one, other = records[0].cell.contender, records[-1].cell.contender
    more = [*records, capsules(0.1, seed=5)]
    sequences = {frozenset((one, other))}
    before, after = (verdicts_of(of, sequences=sequences).difference(one, other) for of in (records, more))
    assert before == after
