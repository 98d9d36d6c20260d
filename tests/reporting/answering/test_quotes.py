"""The tables of a report in, sentences on who won out, which say no more than its verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from capsbench.presenting.material import Material
from capsbench.presenting.words import TIMES
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.answering.comparisons import Result
from capsbench.reporting.answering.quotes import ABOUT_TESTS, spell_quotes
from capsbench.reporting.answering.sentences import LEADS, MOST_RIVALS
from capsbench.reporting.sections.winners import build_table

Make = Callable[..., Record]


@pytest.fixture
def quote(tmp_path: Path) -> Callable[[Sequence[Record]], list[str]]:
    def quote(records: Sequence[Record]) -> list[str]:
        material = Material.from_records(list(records), Store(tmp_path / "results"))
        return spell_quotes(build_table(material), material.summary)

    return quote


def test_the_best_mean_has_its_interval_and_its_verdicts(
    quote: Callable[..., list[str]], capsules: Make, matched: Make
) -> None:
    accuracies = {1: 0.95, 3: 0.951}
    records = [
        *(capsules(accuracy + seed / 1000, seed=seed, iterations=i) for i, accuracy in accuracies.items() for seed in (0, 1, 2)),
        *(matched(0.80 + seed / 1000, seed=seed) for seed in (0, 1, 2)),
    ]  # fmt: skip
    text, tests = quote(records)
    assert tests == ABOUT_TESTS
    assert f"em {TIMES}3 (95.2 %, 95 % CI 94.9 to 95.5, 3 seeds, the best mean)" in text
    better, rest = text.split(LEADS[Result.BETTER])[1].split(". ", 1)
    assert "matched CNN" in better
    if LEADS[Result.NOT_SIGNIFICANT] in rest:
        assert f"em {TIMES}1" in rest
    assert all(words not in text for words in (LEADS[Result.WORSE], LEADS[Result.DOUBTFUL]))


def test_what_was_not_tested_is_not_called_better(
    quote: Callable[..., list[str]], capsules: Make, matched: Make
) -> None:
    (text,) = quote([capsules(0.97), matched(0.80)])
    assert LEADS[Result.NOT_TESTED] in text
    assert "(97.0 %, 1 seed, the best mean)" in text
    assert "CI" not in text
    assert LEADS[Result.BETTER] not in text


def test_of_many_contenders_the_first_are_named_and_the_others_counted(
    quote: Callable[..., list[str]], capsules: Make
) -> None:
    (text,) = quote([capsules(0.5 + i / 100, iterations=i) for i in range(1, MOST_RIVALS + 4)])
    assert text.count(TIMES) == 1 + MOST_RIVALS
    assert "2 more" in text
    assert f"em {TIMES}1," not in text


def test_each_data_set_has_a_sentence(quote: Callable[..., list[str]], capsules: Make, matched: Make) -> None:
    records = [make(0.9, dataset=name) for make in (capsules, matched) for name in ("digits", "mnist")]
    texts = quote(records)
    assert [name in text for name, text in zip(("digits", "mnist"), texts, strict=True)] == [True, True]
