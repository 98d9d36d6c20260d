"""The tables of a report in, its question and answer out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from capsbench.presenting.material import Material
from capsbench.presenting.words import TIMES
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.answering.verdict import MOST_ANSWERS, spell_question, spell_verdicts
from capsbench.reporting.sections.winners import build_table

Make = Callable[..., Record]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., tuple[pd.DataFrame, pd.DataFrame]]:
    def read(*records: Record) -> tuple[pd.DataFrame, pd.DataFrame]:
        material = Material.from_records(list(records), Store(tmp_path))
        return build_table(material), material.summary

    return read


def test_the_question_counts_who_competes(read: Callable[..., tuple], capsules: Make, matched: Make) -> None:
    winners, summary = read(capsules(), matched(), capsules(None, iterations=1))
    assert spell_question(winners, summary) == "Which of 2 contenders has the best test accuracy on digits?"
    assert "em " in spell_question(winners, summary, "em")
    assert spell_question(winners[:0], summary).endswith("on digits?")
    assert spell_question(winners[:0], summary[:0]) == ""


def test_the_answer_names_the_best_and_says_that_nothing_was_tested(
    read: Callable[..., tuple], capsules: Make, matched: Make
) -> None:
    (statement,) = spell_verdicts(*read(capsules(0.97), matched(0.80)))
    text = statement.lead.replace("\N{NO-BREAK SPACE}", " ")
    assert f"em {TIMES}3 has the best mean test accuracy: 97.0 % (1 seed)." in text
    assert "not tested against matched CNN" in text
    assert "better" not in text


def test_a_significant_difference_is_said(read: Callable[..., tuple], capsules: Make, matched: Make) -> None:
    pairs = [
        make(mean + seed / 1000, seed=seed) for make, mean in ((capsules, 0.95), (matched, 0.80)) for seed in range(3)
    ]
    (statement,) = spell_verdicts(*read(*pairs))
    assert "significantly better than matched CNN" in statement.lead
    assert "95\N{NO-BREAK SPACE}% CI" in statement.lead


def test_of_many_others_the_number_is_said(read: Callable[..., tuple], capsules: Make) -> None:
    (statement,) = spell_verdicts(*read(*(capsules(0.9 + count / 100, iterations=count) for count in range(1, 9))))
    assert "any of the 7 others" in statement.lead


def test_of_many_budgets_the_first_have_an_answer(read: Callable[..., tuple], capsules: Make, matched: Make) -> None:
    budgets = [make(epochs=count) for count in range(1, MOST_ANSWERS + 3) for make in (capsules, matched)]
    statements = spell_verdicts(*read(*budgets))
    assert len(statements) == MOST_ANSWERS + 1
    assert statements[-1].lead.startswith("2 more budgets")
