"""Records -> tidy tables: one row = one cell x one number."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from capsbench.records.cell import Cell
from capsbench.records.folder import check_folder
from capsbench.records.record import Record, Row
from capsbench.records.store import Store, no_collection
from capsbench.registry import measure_setting

COLUMNS = ["cell", "network", "routing", "iterations", "dataset", "size", "seed"]
"""The first columns of `load`; the cell's other fields, then `ROW_COLUMNS`, follow."""

ROW_COLUMNS = ["measure", "setting", "metric", "condition", "level", "value", "unit"]


def load(folder: str | Path = "results") -> pd.DataFrame:
    """All numbers on record in a folder as one tidy table: one row = one cell x one number.

    Columns: `COLUMNS`, the other fields of the cell, one column an option of a network or routing, then `ROW_COLUMNS`. Files
    that are not whole records are passed over; `Store.records` names them. Raises UsageError where there is no such folder.
    """
    store = Store(folder)
    check_folder(store, "folder")
    records, _ = store.records()
    return table_of(store.joined(records))


def table_of(records: list[Record]) -> pd.DataFrame:
    """The tidy table of some records, failed ones left out; see `load`."""
    records = [record for record in records if record.status != "failed"]
    described = describe_cells(record.cell for record in records)
    owners, numbers = numbers_of(records)
    table = pd.concat([described.take(owners).reset_index(drop=True), plain(numbers)], axis="columns")
    for column in COLUMNS:
        if column not in table:
            table[column] = pd.Series(dtype=object)
    middle = [column for column in table.columns if column not in COLUMNS and column not in ROW_COLUMNS]
    return table[[*COLUMNS, *middle, *ROW_COLUMNS]].astype({"iterations": "Int64"})


def numbers_of(records: list[Record]) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """All rows of some records with `ROW_COLUMNS`, names as categories, and of each row the place of its record."""
    names: dict[tuple[str, str, str, str, str], int] = {}
    named: list[int] = []
    values: list[float] = []
    levels: list[float | None] = []
    counts: list[int] = []
    with no_collection():
        for record in records:
            before = len(values)
            for setting, rows in _rows_by_setting(record):
                for measure, metric, condition, value, unit, level in rows:
                    named.append(names.setdefault((measure, setting, metric, condition, unit), len(names)))
                    values.append(value)
                    levels.append(level)
            counts.append(len(values) - before)
    # The same few names come again and again: each is made a category once.
    columns = ["measure", "setting", "metric", "condition", "unit"]
    table = pd.DataFrame(list(names), columns=columns, dtype="category").take(named)
    numbers = {name: np.array(each, dtype=float) for name, each in (("level", levels), ("value", values))}
    owners = np.repeat(np.arange(len(records)), counts)
    return owners, table.reset_index(drop=True).assign(**numbers)[ROW_COLUMNS]


def _rows_by_setting(record: Record) -> list[tuple[str, list[Row]]]:
    training = [] if record.training is None else [("default", record.training.rows)]
    return training + [(measure_setting(spec), found.rows) for spec, found in record.measures.items()]


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """The table with strings in place of categories."""
    # `astype` makes each string anew; here they are taken from those of the categories.
    names = [str(name) for name in table.select_dtypes("category")]
    strings = {name: table[name].cat.categories.astype(str).take(table[name].cat.codes.to_numpy()) for name in names}
    return table.assign(**{name: values.array for name, values in strings.items()})


def described_cell(cell: Cell) -> dict[str, Any]:
    """A cell as a line of a table: its fields, its options and the digests of a user's own code."""
    fields = cell.model_dump(mode="json", exclude={"options", "code"})
    return {"cell": cell.id, **fields, **cell.options, **{f"code.{part}": digest for part, digest in cell.code.items()}}


def describe_cells(cells: Iterable[Cell]) -> pd.DataFrame:
    """One row a cell, as `described_cell` has it.

    An option that is a number in one cell and a text or a yes in another is a column of texts: two components of one's own may
    share a name, and no file of columns takes two types in one.
    """
    table = pd.DataFrame([described_cell(cell) for cell in cells])
    mixed = [name for name in table if table[name].dtype == object and len({*map(_kind, table[name].dropna())}) > 1]
    return table.assign(**{str(name): table[name].map(str, na_action="ignore") for name in mixed})


def _kind(value: object) -> type:
    """The type of a value, where whole numbers and others are alike."""
    return float if type(value) is int else type(value)


def history_of(records: list[Record]) -> pd.DataFrame:
    """Training curves: one row = one cell x one epoch, with `COLUMNS` and what training noted of the epoch."""
    rows = []
    for record in records:
        fields = record.cell.model_dump(mode="json")
        described = {"cell": record.cell.id, **{name: fields[name] for name in COLUMNS[1:]}}
        rows += [{**epoch, **described} for epoch in record.history]  # whatever an epoch calls its numbers
    return pd.DataFrame(rows)
