"""Tables of one row a contender, with a column for each number and one for its interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from capsbench.presenting.format import PERCENT, format_interval, name_column, spell_seed_counts

HALF = ", ci95"
"""The suffix of the heading of a half-width of a 95 % interval."""


def select_number(means: pd.DataFrame, metric: str, condition: str, level: Any = None) -> pd.DataFrame:
    """Returns the rows of one number from means over seeds (`capsbench.presenting.material.Material.average_seeds`).

    Args:
        level: a number, or one for each row; all levels if None.
    """
    rows = (means["metric"] == metric) & (means["condition"] == condition)
    if level is not None:
        rows &= (means["level"] - level).abs() < 1e-6
    return means[rows]


def one_row_each(means: pd.DataFrame, numbers: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Returns a row a contender: ``dataset``, ``contender``, ``name``, ``n``, ``seeds`` and its numbers.

    Args:
        means: means over seeds of all contenders.
        numbers: heading -> its rows of ``means``, one a contender; a heading that ends in % turns fractions into per cent. A
            number that no contender has gets no column.
    """
    contenders = means.drop_duplicates("contender").set_index("contender", drop=False)
    table = contenders[["dataset", "contender", "label", "n", "seeds"]].rename(columns={"label": "name"})
    for heading, rows in numbers.items():
        by_contender = rows.drop_duplicates("contender").set_index("contender")
        factor = 100.0 if heading.endswith("%") else 1.0
        if by_contender["value"].notna().any():
            table[heading], table[heading + HALF] = factor * by_contender["value"], factor * by_contender["ci95"]
    return table.reset_index(drop=True)


def format_numbers(table: pd.DataFrame, digits: Mapping[str, int] | None = None) -> pd.DataFrame:
    """Returns a table of `one_row_each` as strings, without the columns that have no interval.

    Args:
        digits: heading -> digits after the point; 1 for per cent, else 2.
    """
    strings: dict[str, Any] = {**name_column(table), "n": spell_seed_counts(table["n"], table["seeds"])}
    for heading in [str(name).removesuffix(HALF) for name in table if str(name).endswith(HALF)]:
        places = (digits or {}).get(heading, 1 if heading.endswith("%") else 2)
        unit = PERCENT if heading.endswith(PERCENT) else ""
        numbers = zip(table[heading], table[heading + HALF], strict=True)
        strings[heading] = [format_interval(value, half, places, unit) for value, half in numbers]
    return pd.DataFrame(strings)
