"""Tables of one row a contender, with its numbers in columns, each beside its interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from capsbench.presenting.format import PERCENT, format_interval, name_column, spell_seed_counts

HALF = ", ci95"
"""What the heading of a half-width of a 95 % interval ends in, after that of its number."""


def select_number(means: pd.DataFrame, metric: str, condition: str, level: Any = None) -> pd.DataFrame:
    """The rows of averaged ones (`capsbench.presenting.material.Material.average_seeds`) that are one number of each contender.

    Args:
        level: a number, or one for each row; all levels if None.
    """
    rows = (means["metric"] == metric) & (means["condition"] == condition)
    if level is not None:
        rows &= (means["level"] - level).abs() < 1e-6
    return means[rows]


def one_row_each(means: pd.DataFrame, numbers: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """``dataset``, ``contender``, ``name``, ``n`` and ``seeds`` of each contender, and its numbers; one nobody has is left out.

    Args:
        means: averaged rows, which say who the contenders are.
        numbers: heading -> its rows of ``means``, one a contender; under a heading that ends in %, fractions become per cent.
    """
    contenders = means.drop_duplicates("contender").set_index("contender", drop=False)
    table = contenders[["dataset", "contender", "label", "n", "seeds"]].rename(columns={"label": "name"})
    for heading, rows in numbers.items():
        own = rows.drop_duplicates("contender").set_index("contender")
        factor = 100.0 if heading.endswith("%") else 1.0
        if own["value"].notna().any():
            table[heading], table[heading + HALF] = factor * own["value"], factor * own["ci95"]
    return table.reset_index(drop=True)


def format_numbers(table: pd.DataFrame, digits: Mapping[str, int] | None = None) -> pd.DataFrame:
    """Such a table as strings, without the columns that have no interval beside them.

    Args:
        digits: heading -> digits after the point; 1 for per cent, else 2.
    """
    shown: dict[str, Any] = {**name_column(table), "n": spell_seed_counts(table["n"], table["seeds"])}
    for heading in [str(name).removesuffix(HALF) for name in table if str(name).endswith(HALF)]:
        places = (digits or {}).get(heading, 1 if heading.endswith("%") else 2)
        unit = PERCENT if heading.endswith(PERCENT) else ""
        numbers = zip(table[heading], table[heading + HALF], strict=True)
        shown[heading] = [format_interval(value, half, places, unit) for value, half in numbers]
    return pd.DataFrame(shown)
