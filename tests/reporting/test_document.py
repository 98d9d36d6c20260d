"""What a report says, before it is a page: tables of strings and what is to be known beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from capsbench.presenting.format import parse_quantity, spell_seeds
from capsbench.presenting.material import Material
from capsbench.presenting.words import TIMES
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.build import Report, report
from capsbench.reporting.document import Table, build_headline
from tests.making import make_record

Make = Callable[..., Record]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def table(**columns: list[str]) -> Table:
    return Table.of("a", "A", pd.DataFrame(columns), "caption")


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("97.3 ± 0.8", 97.3, ""),
        ("-0.6 ± 1.3*", -0.6, ""),
        ("+0.7 (n=2)", 0.7, ""),
        ("2 of 3", 2, ""),
        ("28.0K", 28_000, ""),
        ("1.2M", 1_200_000, ""),
        ("12.0 ms", 12, "ms"),
        ("1,024 MiB", 1024, "MiB"),
        ("5.2 % †", 5.2, "%"),
        ("1e-06", 1e-6, ""),
        ("79 (unverified)", 79, ""),
    ],
)
def test_what_a_string_of_a_table_says(text: str, value: float, unit: str) -> None:
    found = parse_quantity(text)
    assert found is not None
    assert (found.value, found.unit) == (pytest.approx(value), unit)
    assert unit not in found.bare or not unit


@pytest.mark.parametrize("text", ["", "all", f"em {TIMES}3", "0.05 / 0.5", "none", "1.2.3x", "97.3 ± 0.8 and more"])
def test_what_is_not_a_number(text: str) -> None:
    assert parse_quantity(text) is None


def test_a_unit_that_all_have_stands_in_the_heading() -> None:
    made = table(step=["12.0 ms", "", "3.40 ms"], mixed=["1.0 s", "2 ms", "3 ms"], accuracy=["97.3", "98.1", "1"])
    assert made.headings == ["step (ms)", "mixed", "accuracy"]
    assert [row[0] for row in made.rows] == ["12.0", "", "3.40"]
    assert [row[1] for row in made.rows] == ["1.0 s", "2 ms", "3 ms"]
    assert made.numbers == [True, True, True]


def test_all_is_a_number_of_images_and_words_are_none() -> None:
    made = table(train=["100", "all"], size=["tiny", "small"], checks=["none", "2"], nothing=["", ""])
    assert made.numbers == [True, False, False, False]


def test_rows_that_belong_to_one_above_stay_there() -> None:
    assert table(claim=["13. more help", "", ""], n=["3", "2", "1"]).grouped
    assert not table(claim=["a", "b"], n=["3", "2"]).grouped


def test_marks_are_explained_where_they_stand_and_nowhere_else() -> None:
    assert table(x=["1.0", "2.0"]).marks == []
    assert [mark[0] for mark in table(x=["1.0*", "2.0 †"]).marks] == ["*", "†"]
    explained = Table.of("a", "A", pd.DataFrame({"x": ["1.0*"]}), "*: what it means.")
    assert explained.marks == []


def test_what_all_rows_have_is_said_once(store: Store, capsules: Make, matched: Make) -> None:
    records = [capsules(iterations=1), capsules(iterations=3), matched()]
    made = build_headline(Material.from_records(records, store).summary)
    assert made.headings[:3] == ["contender", "iters", "n"]
    assert [row[:2] for row in made.rows] == [[f"em {TIMES}1", "1"], [f"em {TIMES}3", "3"], ["matched CNN", ""]]
    assert made.caption.endswith(
        ". In all rows: dataset digits, size tiny. Capsule networks: network matrix-capsules, routing em."
    )
    several = build_headline(Material.from_records([*records, capsules(dataset="mnist")], store).summary)
    assert several.headings[:2] == ["contender", "dataset"]


def test_what_no_row_has_is_not_said_of_all(store: Store, matched: Make) -> None:
    made = build_headline(Material.from_records([matched(seed=seed) for seed in (0, 1)], store).summary)
    assert made.caption.endswith(". In all rows: dataset digits, size tiny, network matched.")


def of(store: Store, *records: Record) -> Report:
    for record in records:
        store.write(record)
    return report(store.folder, formats=["md"])


@pytest.mark.parametrize(
    ("routings", "datasets", "title"),
    [
        (["em"], ["digits"], "Capsule networks on digits: em routing"),
        (["em", "dynamic"], ["digits", "mnist"], "Capsule networks on digits and mnist: dynamic and em routing"),
        (["em", "own:Mine", "dynamic"], ["digits"], "Capsule networks on digits: Mine, dynamic and em routing"),
        (["a:A", "a:B", "a:C", "a:D"], list("abcd"), "Capsule networks on 4 data sets: 4 routings"),
    ],
)
def test_the_title_says_what_it_is_about(
    store: Store, capsules: Make, routings: list[str], datasets: list[str], title: str
) -> None:
    made = of(store, *(capsules(routing=routing, dataset=data) for routing in routings for data in datasets))
    assert made.document.title == title


def test_baselines_alone_are_networks(store: Store, matched: Make) -> None:
    assert of(store, matched(network="all-conv", options={})).document.title == "Networks on digits"


def test_cells_that_failed_alike_are_one_line_with_their_command(store: Store, capsules: Make, failed: Make) -> None:
    five = {"routing": "em", "iters": 5}
    alike = [replace(failed(seed=seed, iterations=5), request=five) for seed in (2, 1)]
    made = of(store, capsules(), *alike, replace(failed("other", seed=7, iterations=5), request=five))
    first, second = sorted(made.document.failed, key=lambda each: each.reason, reverse=True)
    assert (first.title, first.seeds, second.seeds) == ("matrix-capsules em x5 tiny, digits", [1, 2], [7])
    assert " --iters 5 " in first.again.command
    assert " --seeds 1,2 " in first.again.command
    text = (store.folder / "report" / "table.md").read_text()
    assert "- matrix-capsules em x5 tiny, digits, seeds 1, 2: the loss became nan; `capsbench run --routing em" in text


def test_each_row_has_its_command_and_its_cells(store: Store, capsules: Make, matched: Make) -> None:
    asked = {capsules: {"routing": "em", "baseline": "none"}, matched: {"routing": "em", "baseline": "matched"}}
    records = [replace(make(seed=seed), request=asked[make]) for make in (capsules, matched) for seed in (0, 1)]
    made = of(store, *records)
    assert [each.name for each in made.document.commands] == [f"em {TIMES}3", "matched CNN"]
    assert made.document.commands[0].cells == [record.cell.id for record in records[:2]]
    text = (store.folder / "report" / "table.md").read_text()
    for each, baseline in zip(made.document.commands, ("none", "matched"), strict=True):
        assert each.again.command == f"capsbench run --routing em --seeds 0,1 --device cpu --baseline {baseline}"
        assert f"    {each.again.command}" in text


def test_when_it_was_measured(store: Store, capsules: Make) -> None:
    def at(seed: int, started: str) -> Record:
        record = capsules(seed=seed)
        return make_record(record.cell, record.rows, provenance=record.provenance, started=started)

    made = of(store, at(0, "2026-01-01T23:59:00+00:00"), at(1, "2026-01-02T02:00:00+02:00"))
    assert dict(made.document.facts)["measured"] == ["2026-01-01 23:59:00 to 2026-01-02 00:00:00 UTC"]
    made = of(store, at(1, "2026-01-01T23:59:30+00:00"))
    assert dict(made.document.facts)["measured"] == ["2026-01-01 23:59:00 to 23:59:30 UTC"]


def test_what_was_chosen_is_said(store: Store, capsules: Make) -> None:
    of(store, capsules(iterations=1), capsules(iterations=2))
    made = report(store.folder, where=["iters=2"], formats=["md"])
    assert dict(made.document.facts)["chosen by"] == ["iters=2"]
    assert made.summary["iterations"].tolist() == [2]


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([0], "seed 0"),
        ([0, 2], "seeds 0, 2"),
        ([0, 1, 2], "seeds 0, 1, 2"),
        ([0, 1, 2, 3, 4], "seeds 0 to 4"),
        ([0, 1, 2, 9], "seeds 0, 1, 2, 9"),
    ],
)
def test_seeds_in_words(numbers: list[int], text: str) -> None:
    assert spell_seeds(numbers) == text


def test_markdown_shows_names_as_they_are(store: Store, capsules: Make, failed: Make) -> None:
    of(store, capsules(routing="own:<script>`*[x](y)"), capsules(), failed("<img src=x onerror=alert(1)> [a](b)"))
    text = (store.folder / "report" / "table.md").read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("| \\<script")]
    assert "\\<script>\\`\\*\\[x](y)" in row
    assert "<img" not in text.replace("\\<img", "")
