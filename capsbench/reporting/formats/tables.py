"""Tables of a report for programs: CSV, which a spreadsheet reads without evaluating it, and parquet."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
from pyarrow import parquet

from capsbench.presenting.figures.files import to_bytes

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""The first characters of a text that a spreadsheet evaluates."""


def encode_tables(
    tables: Mapping[str, pd.DataFrame], formats: Collection[str], without_csv: Collection[str] = ()
) -> dict[str, bytes]:
    """Returns the tables for programs: file name -> content.

    Args:
        tables: name -> table.
        formats: ``csv`` and ``parquet`` among them.
        without_csv: the names of tables that are too long for CSV.
    """
    contents: dict[str, bytes] = {}
    if "csv" in formats:
        contents |= {f"{name}.csv": _to_csv(table) for name, table in tables.items() if name not in without_csv}
    if "parquet" in formats:
        contents |= {f"{name}.parquet": _to_parquet(table) for name, table in tables.items()}
    return contents


def _to_csv(table: pd.DataFrame) -> bytes:
    arrow = _to_arrow(_quote_formulas(table))
    return to_bytes(lambda file: pa_csv.write_csv(arrow, file, pa_csv.WriteOptions(quoting_style="needed")))


def _quote_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table with an apostrophe before each text that a spreadsheet would take for a formula."""
    texts = [name for name in table if pd.api.types.is_string_dtype(table[name].dtype)]
    table = table.assign(**{str(name): table[name].map(_quote_formula, na_action="ignore") for name in texts})
    return table.rename(columns=_quote_formula)


def _quote_formula(text: object) -> object:
    if not isinstance(text, str) or not text.startswith(FORMULA):
        return text
    try:
        float(text)  # a number in a column of texts
    except ValueError:
        return f"'{text}"
    return text


def _to_parquet(table: pd.DataFrame) -> bytes:
    return to_bytes(lambda file: parquet.write_table(_to_arrow(table), file))


def _to_arrow(table: pd.DataFrame) -> pa.Table:
    with np.errstate(invalid="ignore"):  # a number may be too large for the integer that it is compared with
        return pa.Table.from_pandas(table.convert_dtypes(), preserve_index=False)
