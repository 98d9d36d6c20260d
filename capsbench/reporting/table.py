"""Tables of strings, as every format of a report prints them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd

from capsbench.presenting.format import SIGNIFICANT, SIGNIFICANT_MEANS, parse_quantity
from capsbench.presenting.marks import UNLIKE, explain_signs

IN_ALL_ROWS = "In all rows"
"""The words on what every row has."""

ALL = "all"
"""Stands for the largest number in a column of numbers: all training images."""

ABSENT = "\N{EN DASH}"
"""Stands for a number that is not on record."""

_OWN_MEANING = re.compile(rf" ?{re.escape(SIGNIFICANT)}: (.*?)\.(?=\s|$)")
"""The sentence of a caption on a table's own test."""


@dataclass(frozen=True)
class Table:
    """A table of strings.

    Attributes:
        name: its file name, without ending.
        title: a short phrase.
        headings: one a column, with the unit that all of the column's numbers have.
        numbers: true for each column of numbers.
        rows: the strings, a list a row.
        caption: how to read it, in sentences.
        marks: the legend: a line for each sign that occurs in the strings.
        grouped: rows with an empty first string belong to the row above, so that nothing may sort them.
        contenders: the identity of each row, where rows are contenders.
        is_chosen: true for columns that a user chose.
        shared: what rows share and no column has: which rows -> heading -> value.
    """

    name: str
    title: str
    headings: list[str]
    numbers: list[bool]
    rows: list[list[str]]
    caption: str
    marks: list[str]
    grouped: bool = False
    contenders: list[str] = field(default_factory=list)
    is_chosen: bool = False
    shared: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def from_cells(cls, name: str, strings: pd.DataFrame) -> Table:
        """Returns the table of some strings as they are, units included, without a title, a caption or a legend."""
        rows = [list(map(str, line)) for line in strings.itertuples(index=False)]
        headings = list(map(str, strings.columns))
        return cls(name, "", headings, [False] * len(headings), rows, "", [])

    @classmethod
    def from_strings(
        cls,
        name: str,
        title: str,
        strings: pd.DataFrame,
        caption: str,
        contenders: Iterable[str] = (),
        shared: dict[str, dict[str, str]] | None = None,
        is_chosen: bool = False,
    ) -> Table:
        """Returns the table of some strings, each unit that a column shares in its heading, and the legend of its signs."""
        rows = [list(map(str, line)) for line in strings.itertuples(index=False)]
        headings, numbers = [], []
        for place, heading in enumerate(map(str, strings.columns)):
            quantities = [(row, parse_quantity(row[place])) for row in rows if row[place] not in ("", ALL, ABSENT)]
            numbers.append(bool(quantities) and all(quantity is not None for _, quantity in quantities))
            units = {quantity.unit for _, quantity in quantities if quantity is not None}
            unit = units.pop() if numbers[-1] and len(units) == 1 else ""
            if unit:
                for row, quantity in quantities:
                    row[place] = quantity.bare if quantity is not None else row[place]
            headings.append(f"{heading} ({unit})" if unit and unit not in heading else heading)
        own_meaning = _OWN_MEANING.search(caption)
        cells = [cell for row in rows for cell in row]
        marks = explain_signs(cells)
        if any(cell.removesuffix(f" {UNLIKE.sign}").endswith(SIGNIFICANT) for cell in cells):
            marks.insert(0, f"{SIGNIFICANT}: {own_meaning[1]}" if own_meaning else SIGNIFICANT_MEANS)
        grouped = any(row[0] == "" for row in rows[1:])
        caption = to_sentence(_OWN_MEANING.sub("", caption).strip())
        return cls(
            name, title, headings, numbers, rows, caption, marks, grouped, list(contenders), is_chosen, shared or {}
        )

    @property
    def about_shared(self) -> str:
        """Sentences on what rows share: ``In all rows: dataset digits, size tiny.``"""
        return " ".join(
            f"{rows}: {', '.join(f'{heading} {value}' for heading, value in values.items())}."
            for rows, values in self.shared.items()
        )

    @property
    def whole_caption(self) -> str:
        """The caption with what rows share."""
        return f"{self.caption} {self.about_shared}".strip()


def to_sentence(text: str) -> str:
    """Returns a caption with a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")
