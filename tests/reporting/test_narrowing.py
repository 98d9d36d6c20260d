"""A table in, the same with fewer columns out."""

from __future__ import annotations

import pandas as pd
import pytest

from capsbench.reporting.headline import HEADLINE
from capsbench.reporting.narrowing import merge_shared, narrow_table
from capsbench.reporting.table import IN_ALL_ROWS, Table

COLUMNS = {
    "contender": ["em 1", "em 3"],
    "dataset": ["digits", "mnist"],
    "iters": ["1", "3"],
    "n": ["3", "2"],
    "accuracy %": ["97.0", "96.0"],
    "vs matched": ["+1.0", "+0.5"],
    "seeds needed": ["3", "4"],
    "parameters": ["28.0K", "28.0K"],
    "step": ["1 ms", "2 ms"],
    "memory": ["6 MiB", "7 MiB"],
}


def make_table(name: str = HEADLINE, columns: dict[str, list[str]] = COLUMNS) -> Table:
    return Table.from_strings(name, "T", pd.DataFrame(columns), "C.")


def test_a_table_that_fits_stays_whole() -> None:
    table = make_table()
    assert narrow_table(table, lambda table: True) == (table, [])


@pytest.mark.parametrize(
    ("count", "left_out"),
    [
        (8, []),  # the names repeat the iterations, and all rows share the parameters
        (7, ["memory (MiB)"]),
        (6, ["seeds needed", "memory (MiB)"]),
        (4, ["n", "seeds needed", "step (ms)", "memory (MiB)"]),
        (1, ["n", "vs matched", "seeds needed", "step (ms)", "memory (MiB)"]),
    ],
)
def test_the_least_important_columns_of_the_headline_go_first(count: int, left_out: list[str]) -> None:
    table, headings = narrow_table(make_table(), lambda table: len(table.headings) <= count)
    assert sorted(headings) == sorted(left_out)
    assert table.headings[:2] == ["contender", "dataset"]
    assert "accuracy %" in table.headings
    assert table.shared == {IN_ALL_ROWS: {"parameters": "28.0K"}}
    assert all(len(row) == len(table.headings) == len(table.numbers) for row in table.rows)


def test_the_last_columns_of_other_tables_go_first() -> None:
    columns = {"name": ["a", "b"], "x": ["1", "2"], "y": ["1", "3"], "z": ["1", "4"]}
    table, left_out = narrow_table(make_table("other", columns), lambda table: len(table.headings) <= 2)
    assert (table.headings, left_out) == (["name", "x"], ["y", "z"])
    assert table.rows == [["a", "1"], ["b", "2"]]


@pytest.mark.parametrize(
    "columns",
    [
        {"name": ["a"], "n": ["3"]},  # of one row all is shared
        {"name": ["a", "b"], "n": ["3", "4"]},
        {"name": ["a", "a"], "n": ["", ""]},
        {"on": ["a", "", "b"], "n": ["3", "3", "3"]},  # rows that belong together
    ],
)
def test_tables_in_which_nothing_is_to_be_said_once_stay(columns: dict[str, list[str]]) -> None:
    table = make_table("other", columns)
    assert merge_shared(table) == table
