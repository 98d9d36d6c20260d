"""Tables on a terminal: their columns as wide as it has room for, and none so narrow that its words become ribbons."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from rich.cells import cell_len

from capsbench.presenting.format import parse_quantity
from capsbench.presenting.terminal import to_one_line
from capsbench.reporting.headline import CONTENDER
from capsbench.reporting.narrowing import drop_columns, narrow_table, share_room
from capsbench.reporting.table import Table

NAMES = (CONTENDER, "name")
"""The headings of names of contenders."""

BETWEEN = 3
"""The characters between two columns."""

TEXT, LONGEST, NAME = 14, 26, 24
"""The least width of a column of longer texts, the longest word that no column breaks, and the least width of longer names."""


class Fitted(NamedTuple):
    """A table as a terminal has room for it: the width of each column, and the headings of those that are left out."""

    table: Table
    widths: list[int]
    left_out: list[str]


def fit_table(table: Table, width: int) -> Fitted:
    """Returns a table with the columns that fit in a width, the most important ones where not all do."""
    wide = sum(list_widths(table)) + BETWEEN * (len(table.headings) - 1) <= width
    narrow, left_out = (table, []) if wide else narrow_table(table, lambda table: _has_room(table, width))
    return Fitted(narrow, share_width(narrow, width), left_out)


def split_groups(table: Table) -> list[tuple[str, Table]]:
    """Returns the rows of each group of a table without its first column, and what that says of the group."""
    starts = [place for place, row in enumerate(table.rows) if row[0] or place == 0]
    rest = replace(drop_columns(table, table.headings[:1]), grouped=False)
    return [
        (table.rows[start][0], replace(rest, rows=rest.rows[start:end]))
        for start, end in zip(starts, [*starts[1:], len(table.rows)], strict=True)
    ]


def share_width(table: Table, width: int) -> list[int]:
    """Returns the width of each column: what its words need, and an equal share of the rest where it has use for it."""
    least = _list_least(table)
    return share_room(least, list_widths(table), width - sum(least) - BETWEEN * (len(least) - 1))


def list_widths(table: Table) -> list[int]:
    """Returns the width of each column with every cell on one line."""
    return [max(map(_measure, column)) for column in _list_columns(table)]


def _has_room(table: Table, width: int) -> bool:
    least = _list_least(table)
    return sum(least) + BETWEEN * (len(least) - 1) <= width


def _list_least(table: Table) -> list[int]:
    """Returns the width that each column needs: that of its longest word in a heading, of its numbers and short texts whole."""
    return [
        max(_find_longest_word(heading), *(_find_least(cell, NAME if heading in NAMES else TEXT) for cell in cells))
        for heading, *cells in _list_columns(table)
    ]


def _find_least(cell: str, text: int) -> int:
    whole = _measure(cell)
    return min(whole, LONGEST if parse_quantity(cell) else max(text, _find_longest_word(cell)))


def _find_longest_word(text: str) -> int:
    return min(LONGEST, max(map(_measure, text.split()), default=0))


def _list_columns(table: Table) -> list[list[str]]:
    return [list(column) for column in zip(table.headings, *table.rows, strict=True)]


def _measure(text: str) -> int:
    return cell_len(to_one_line(text))
