"""What a notebook shows of a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.build import Report, report
from capsbench.reporting.document import HEADLINE, WINNERS

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


def test_who_won_is_first_and_the_rest_of_its_lines_are_details(shown: Report) -> None:
    output = shown.describe_output()
    (winners,) = [section.readable for section in shown.sections if section.section.name == WINNERS]
    for line, row in zip([output.lead, *output.items], winners.to_dict("records"), strict=True):
        assert all(text in line for text in (row["measured"], row["first"], row["value"], row["the others"]))


def test_it_has_the_headline_table_the_pictures_and_the_path_of_the_page(shown: Report) -> None:
    output = shown.describe_output()
    (headline,) = [part for part in shown.document.parts if part.name == HEADLINE]
    (grid,) = output.tables
    assert (grid.headings, grid.rows) == (headline.table.headings, headline.table.rows)
    assert [shot.name for shot in output.shots][: len(headline.pictures)] == [*headline.pictures]
    assert str(shown.files[0].parent / "index.html") in output.notes[-1]
    assert len(shown._repr_html_()) < 400_000
    assert len(repr(shown)) < 300


def test_the_answer_comes_before_who_won(results: Path) -> None:
    asked = report(results, for_="em", formats=["csv"])
    output = asked.describe_output()
    assert asked.answer is not None
    assert output.lead == asked.answer.statements[0].lead
    assert [*output.items[: len(asked.answer.statements[0].items)]] == asked.answer.statements[0].items
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
