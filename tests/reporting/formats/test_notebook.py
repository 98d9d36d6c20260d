"""What a notebook shows of a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.build import Report, report
from capsbench.reporting.contents import ACCURACIES
from capsbench.reporting.headline import HEADLINE

Make = Callable[..., Record]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, capsules: Make, matched: Make) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for seed, noise in enumerate((0.0, 0.001, 0.002)):
        Store(folder).write(capsules(0.97 + noise, seed=seed))
        Store(folder).write(capsules(0.90 + noise, seed=seed, iterations=1))
        Store(folder).write(matched(0.96 + noise, seed=seed))
    return folder


@pytest.fixture(scope="module")
def shown(results: Path) -> Report:
    return report(results)


def test_who_won_is_first_and_the_other_sentences_are_details(shown: Report) -> None:
    output = shown.describe_output()
    assert [output.lead, *output.items] == shown.document.quotes
    assert "matched CNN" in output.lead


def test_it_has_the_headline_table_the_pictures_and_the_path_of_the_page(shown: Report) -> None:
    output = shown.describe_output()
    (headline,) = [part for part in shown.document.parts if part.name == HEADLINE]
    (grid,) = output.tables
    assert (grid.headings, grid.rows) == (headline.table.headings, headline.table.rows)
    pictures = [ACCURACIES, *headline.pictures]
    assert [shot.name for shot in output.shots][: len(pictures)] == pictures
    assert str(shown.files[0].parent / "index.html") in output.notes[-1]
    assert len(shown._repr_html_()) < 400_000
    assert len(repr(shown)) < 300


def test_the_answer_comes_before_who_won(results: Path) -> None:
    asked = report(results, for_="em", formats=["csv"])
    output = asked.describe_output()
    assert asked.answer is not None
    answer = asked.answer.statements[0]
    assert [output.lead, *output.items][: 1 + len(answer.items)] == [answer.lead, *answer.items]
    assert output.shots == []  # none was drawn
    assert not any("index.html" in note for note in output.notes)


def test_a_report_without_a_winner_says_so_and_what_failed(tmp_path: Path, capsules: Make, failed: Make) -> None:
    Store(tmp_path).write(capsules(0.9, seed=0))
    Store(tmp_path).write(failed("<b>out of memory</b>", seed=1))
    made = report(tmp_path, formats=["csv"])
    output = made.describe_output()
    assert made.document.title in output.lead
    assert "1 cell failed" in output.cautions
    assert "<b>" not in made._repr_html_()
