"""A summary in, the headline table out, with the columns that a user chooses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from capsbench.errors import Kind, UsageError
from capsbench.presenting.material import Material
from capsbench.presenting.words import TIMES
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.headline import build_headline, choose_columns, list_columns
from capsbench.reporting.table import IN_ALL_ROWS

Make = Callable[..., Record]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_what_all_rows_have_is_said_once(store: Store, capsules: Make, matched: Make) -> None:
    records = [capsules(iterations=1), capsules(iterations=3), matched()]
    table = build_headline(Material.from_records(records, store).summary)
    assert table.headings[:3] == ["contender", "n", "accuracy (%)"] or table.headings[2] == "accuracy %"
    assert table.headings[-1] == "iters"  # the names hold it, so it stands behind the numbers
    assert [(row[0], row[-1]) for row in table.rows] == [
        (f"em {TIMES}1", "1"),
        (f"em {TIMES}3", "3"),
        ("matched CNN", ""),
    ]
    assert table.whole_caption.endswith(
        ". In all rows: dataset digits, size tiny. Capsule networks: network matrix-capsules, routing em."
    )
    several = build_headline(Material.from_records([*records, capsules(dataset="mnist")], store).summary)
    assert several.headings[:2] == ["contender", "dataset"]


def test_what_no_row_has_is_not_said_of_all(store: Store, matched: Make) -> None:
    table = build_headline(Material.from_records([matched(seed=seed) for seed in (0, 1)], store).summary)
    assert table.whole_caption.endswith(". In all rows: dataset digits, size tiny, network matched.")


STRINGS = pd.DataFrame(
    {"contender": ["em"], "accuracy %": ["97.0"], "vs matched": ["+1.0"], "seeds needed": ["3"], "FLOPs": ["1.0M"]}
)


@pytest.mark.parametrize(
    ("names", "headings"),
    [
        (["flops", "Contender"], ["FLOPs", "contender"]),
        (["accuracy", "seeds-needed"], ["accuracy %", "seeds needed"]),
        (["accuracy %", "vs_matched"], ["accuracy %", "vs matched"]),
        (["FLOPs", "all"], ["FLOPs", "contender", "accuracy %", "vs matched", "seeds needed"]),
        (["all"], list(STRINGS)),
    ],
)
def test_columns_are_chosen_by_name_and_in_order(names: list[str], headings: list[str]) -> None:
    assert list(choose_columns(STRINGS, names)) == headings


@pytest.mark.parametrize(
    ("names", "kind", "value"),
    [
        (["accurcy"], Kind.UNKNOWN, "accurcy"),
        ([], Kind.UNKNOWN, ""),
        (["flops", ""], Kind.UNKNOWN, ""),
        (["flops", "FLOPs"], Kind.CONFLICT, "FLOPs"),
    ],
)
def test_a_wrong_name_is_refused_with_the_names_there_are(names: list[str], kind: Kind, value: str) -> None:
    with pytest.raises(UsageError) as error:
        choose_columns(STRINGS, names)
    assert (error.value.flag, error.value.kind, error.value.value) == ("columns", kind, value)
    if kind is Kind.UNKNOWN:
        assert error.value.expected == ("contender", "accuracy", "vs-matched", "seeds-needed", "FLOPs", "all")
        assert {*choose_columns(STRINGS, error.value.expected)} == {*STRINGS}


def test_what_is_not_among_the_chosen_columns_is_said_of_all_rows(store: Store, capsules: Make) -> None:
    summary = Material.from_records([capsules(iterations=1), capsules(iterations=3)], store).summary
    table = build_headline(summary, ["size", "iters", "accuracy"])
    assert table.headings == ["size", "iters", "accuracy %"]
    assert table.rows == [["tiny", "1", "97.0"], ["tiny", "3", "97.0"]]
    assert table.shared[IN_ALL_ROWS] == {"dataset": "digits", "network": "matrix-capsules", "routing": "em"}
    assert list_columns(summary).columns[0] == "contender"


def test_that_nothing_was_tested_is_said_once(store: Store, capsules: Make, matched: Make) -> None:
    table = build_headline(Material.from_records([capsules(), matched()], store).summary)
    place = table.headings.index("vs matched")
    assert table.rows[0][place] == "+1.0"
    assert "No difference was tested: 1 seed in common" in table.caption
    several = [make(seed=seed) for make in (capsules, matched) for seed in (0, 1, 2)]
    tested = build_headline(Material.from_records(several, store).summary)
    assert "No difference was tested" not in tested.caption
