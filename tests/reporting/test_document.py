"""The content of a report, before it is a page: failed cells and commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from capsbench.presenting.words import TIMES
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.build import Report, report
from tests.making import FINE, STUCK, counted

Make = Callable[..., Record]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def report_on(store: Store, *records: Record) -> Report:
    for record in records:
        store.write(record)
    return report(store.folder, formats=["md"])


def test_cells_that_failed_alike_are_one_line_with_their_command(store: Store, capsules: Make, failed: Make) -> None:
    five = {"routing": "em", "iters": 5}
    alike = [replace(failed(seed=seed, iterations=5), request=five) for seed in (2, 1)]
    document = report_on(
        store, capsules(), *alike, replace(failed("other", seed=7, iterations=5), request=five)
    ).document
    first, second = sorted(document.failed, key=lambda failure: failure.reason, reverse=True)
    assert (first.title, first.seeds, second.seeds) == ("matrix-capsules em x5 tiny, digits", [1, 2], [7])
    assert " --iters 5 " in first.again.command
    assert " --seeds 1,2 " in first.again.command
    assert [name for name, _ in document.incomplete] == ["failed"]


def test_each_row_has_its_command_and_its_cells(store: Store, capsules: Make, matched: Make) -> None:
    asked = {capsules: {"routing": "em", "baseline": "none"}, matched: {"routing": "em", "baseline": "matched"}}
    records = [replace(make(seed=seed), request=asked[make]) for make in (capsules, matched) for seed in (0, 1)]
    rows = report_on(store, *records).document.commands
    assert [row.name for row in rows] == [f"em {TIMES}3", "matched CNN"]
    assert rows[0].cells == [record.cell.id for record in records[:2]]
    text = (store.folder / "report" / "table.md").read_text()
    for row, baseline in zip(rows, ("none", "matched"), strict=True):
        assert row.again.command == f"capsbench run --routing em --seeds 0,1 --device cpu --baseline {baseline}"
        assert f"    {row.again.command}" in text


def test_markdown_shows_names_as_they_are(store: Store, capsules: Make, failed: Make) -> None:
    report_on(
        store, capsules(routing="own:<script>`*[x](y)"), capsules(), failed("<img src=x onerror=alert(1)> [a](b)")
    )
    text = (store.folder / "report" / "table.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| \\<script")]
    assert len(rows) == 2  # of the headline table, and of the times
    assert all("\\<script>\\`\\*\\[x](y)" in row for row in rows)
    assert "<img" not in text.replace("\\<img", "")


@pytest.mark.parametrize(("counts", "is_collapsed"), [(STUCK, True), (FINE, False)])
def test_where_all_have_collapsed_there_is_nothing_to_quote_for_that_reason(
    store: Store, capsules: Make, matched: Make, counts: Mapping[str, float], is_collapsed: bool
) -> None:
    document = report_on(store, *(counted(make(seed=0), **counts) for make in (capsules, matched))).document
    assert bool(document.quotes) is not is_collapsed
    assert ("collapsed" in document.no_quotes) is is_collapsed
