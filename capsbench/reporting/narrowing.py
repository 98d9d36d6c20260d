"""Tables made narrow: what all rows share goes above the table, and the least important columns go where there is no room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pandas as pd

from capsbench.presenting.format import CAPTION
from capsbench.reporting.headline import CONTENDER, HEADLINE
from capsbench.reporting.table import IN_ALL_ROWS, Table

LEAST = ("memory", "seeds needed", "inference", "step", "FLOPs", "parameters", "n")
"""The numbers of the headline table that are left out where it is too wide, first to last; a longer heading begins so."""

Fits = Callable[[Table], bool]


def narrow_table(table: Table, fits: Fits) -> tuple[Table, list[str]]:
    """Returns a table that fits, and the headings of the columns that it had to leave out.

    What all rows share moves from its columns to ``shared``. The headline table loses the columns that its names repeat. Then
    the least important columns go, one at a time; one column always stays. Columns that a user chose all stay.
    """
    if table.is_chosen or fits(table):
        return table, []
    table = merge_shared(drop_columns(table, list_repeated(table)))
    droppable = list_least(table.headings) if table.name == HEADLINE else table.headings[:0:-1]
    left_out: list[str] = []
    for heading in droppable:
        if fits(table):
            break
        table = drop_columns(table, [heading])
        left_out.insert(0, heading)
    return table, left_out


def merge_shared(table: Table) -> Table:
    """Returns a table of several rows with what they all share said once, in ``shared``, but for the first column."""
    if len(table.rows) < 2 or table.grouped:
        return table
    cells = list(zip(*table.rows, strict=True))
    shared = {
        heading: values[0]
        for heading, values in list(zip(table.headings, cells, strict=True))[1:]
        if values[0] and len(set(values)) == 1
    }
    if not shared:
        return table
    in_all_rows = {IN_ALL_ROWS: {**table.shared.get(IN_ALL_ROWS, {}), **shared}}
    return drop_columns(replace(table, shared={**table.shared, **in_all_rows}), shared)


def drop_columns(table: Table, headings: Iterable[str]) -> Table:
    """Returns a table without some columns, and without the sentences of the headline table's caption on them."""
    unwanted = {*headings}
    places = [place for place, heading in enumerate(table.headings) if heading not in unwanted]
    kept = [table.headings[place] for place in places]
    rows = [[row[place] for place in places] for row in table.rows]
    strings = pd.DataFrame(rows, columns=kept).assign(**table.shared.get(IN_ALL_ROWS, {}))
    caption = table.caption
    for about in CAPTION if table.name == HEADLINE else ():
        if not isinstance(about, str) and not about.applies_to(strings):
            caption = caption.replace(f" {about.sentence}", "").removeprefix(about.sentence).strip()
    return replace(table, headings=kept, numbers=[table.numbers[place] for place in places], rows=rows, caption=caption)


def share_room(widths: Sequence[int], wanted: Sequence[int], spare: int) -> list[int]:
    """Returns widths of columns that share what is to spare: equally, but none takes more than it wants."""
    shared = list(widths)
    while spare > 0 and (wanting := [place for place, width in enumerate(shared) if width < wanted[place]]):
        for place in wanting[:spare]:
            shared[place] += 1
        spare -= len(wanting[:spare])
    return shared


def list_repeated(table: Table) -> list[str]:
    """Returns the columns of the headline table that say again what its names say: all but the data set and the numbers."""
    if table.name != HEADLINE or table.headings[0] != CONTENDER:
        return []
    numbers = (*LEAST, "accuracy %", "vs")
    return [
        heading
        for heading in table.headings[1:]
        if heading != "dataset" and not any(_is_of(heading, words) for words in numbers)
    ]


def list_least(headings: Sequence[str]) -> list[str]:
    """Returns the columns of the headline table that may be left out, the least important one first."""
    least = [heading for words in LEAST for heading in reversed(headings) if _is_of(heading, words)]
    differences = [heading for heading in reversed(headings) if heading.startswith("vs ")]
    return [*least, *differences]


def _is_of(heading: str, words: str) -> bool:
    return heading == words or heading.startswith(f"{words} ")
