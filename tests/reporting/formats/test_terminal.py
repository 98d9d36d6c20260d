"""A table and a width in, the columns that fit out."""

from __future__ import annotations

import pandas as pd
import pytest

from capsbench.reporting.formats.terminal import BETWEEN, fit_table, list_widths, share_width, split_groups
from capsbench.reporting.table import Table

PROSE = "Not significantly different: em (0.1 ± 2.4, 12 seeds would show it); matched CNN (0.6 ± 1.3)."


def make_table(columns: dict[str, list[str]], name: str = "t") -> Table:
    return Table.from_strings(name, "T", pd.DataFrame(columns), "C.")


def measure(widths: list[int]) -> int:
    return sum(widths) + BETWEEN * (len(widths) - 1)


MANY = {"name": ["em", "matched CNN"], **{f"number {i}": [f"9{i}.0 [90.0, 100.0]", "97.0 ± 1.2"] for i in range(9)}}


@pytest.mark.parametrize("width", [40, 80, 100, 160, 300])
def test_the_columns_of_numbers_that_fit_are_whole(width: int) -> None:
    fitted = fit_table(make_table(MANY), width)
    assert measure(fitted.widths) <= width
    assert [*fitted.table.headings, *fitted.left_out] == list(MANY)
    cells = zip(*fitted.table.rows, strict=True)
    assert all(len(cell) <= room for column, room in zip(cells, fitted.widths, strict=True) for cell in column)
    assert len(fitted.table.headings) == {40: 2, 80: 4, 100: 5, 160: 8, 300: 10}[width]


def test_a_wide_terminal_has_everything_on_one_line() -> None:
    table = make_table({"name": ["em"], "the others": [PROSE]})
    assert fit_table(table, 200) == (table, list_widths(table), [])


def test_prose_takes_the_room_that_numbers_leave() -> None:
    table = make_table({"measured": ["accuracy %", "loss"], "value": ["97.0 ± 1.2", "3"], "the others": [PROSE, ""]})
    fitted = fit_table(table, 80)
    assert fitted.left_out == []
    assert fitted.widths == [10, 10, 80 - 20 - 2 * BETWEEN]


def test_a_word_is_not_broken_where_there_is_room_for_it() -> None:
    table = make_table({"name": ["em"], "about significantly different things": ["short"]})
    assert share_width(table, 20) == [4, 13]


def test_groups_of_rows_can_stand_alone() -> None:
    table = make_table({"on": ["digits", "", "mnist"], "first": ["a", "b", "c"], "n": ["3", "3", "2"]})
    groups = split_groups(table)
    assert [words for words, _ in groups] == ["digits", "mnist"]
    assert [group.rows for _, group in groups] == [[["a", "3"], ["b", "3"]], [["c", "2"]]]
    assert all(group.headings == ["first", "n"] and not group.grouped for _, group in groups)


def test_wide_characters_count_twice() -> None:
    assert list_widths(make_table({"name": ["漢字"]})) == [4]
