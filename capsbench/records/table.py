"""Converts records to tidy tables: one row = one cell x one number, or one cell x one test image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from capsbench.errors import Kind, UsageError
from capsbench.measures.accuracy.spec import ACCURACY
from capsbench.records.artifacts import are_correct, read_kept
from capsbench.records.cell import Cell, describe_cell
from capsbench.records.folder import check_folder
from capsbench.records.record import Record, Row
from capsbench.records.store import Store, pause_collection
from capsbench.records.swap import read_whole
from capsbench.registry import measure_setting

COLUMNS = ["cell", "network", "routing", "iterations", "dataset", "size", "seed"]
"""The first columns of `load`, before the cell's other fields and `ROW_COLUMNS`."""

ROW_COLUMNS = ["measure", "setting", "metric", "condition", "level", "value", "unit"]

IMAGE_COLUMNS = ["image", "label", "prediction", "correct", "nll"]
"""The last columns of `predictions`: the index of the test image, its label, the predicted class, whether the two are the same,
and the negative log-likelihood of the label in nats."""


def load(folder: str | Path = "results") -> pd.DataFrame:
    """Loads all numbers on record in a folder as one tidy table: one row = one cell x one number.

    Columns: `COLUMNS`, the other fields of the cell, one column for each option of a network or routing, then `ROW_COLUMNS`.
    Unreadable files are skipped; `Store.records` lists them. Raises UsageError if the folder does not exist.
    """

    def read() -> list[Record]:
        store = Store(folder)
        check_folder(store, "folder")
        return store.add_between(store.records()[0])

    return table_of(read_whole(Path(folder), "folder", read))


def table_of(records: list[Record]) -> pd.DataFrame:
    """Returns the tidy table of records, without failed ones; see `load`."""
    records = [record for record in records if record.status != "failed"]
    described = describe_cells(record.cell for record in records)
    owners, numbers = numbers_of(records)
    table = pd.concat([described.take(owners).reset_index(drop=True), to_strings(numbers)], axis="columns")
    for column in COLUMNS:
        if column not in table:
            table[column] = pd.Series(dtype=object)
    middle = [column for column in table.columns if column not in COLUMNS and column not in ROW_COLUMNS]
    return table[[*COLUMNS, *middle, *ROW_COLUMNS]].astype({"iterations": "Int64"})


def numbers_of(records: list[Record]) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Returns all rows as a table of `ROW_COLUMNS` with names as categories, and the index of each row's record."""
    names: dict[tuple[str, str, str, str, str], int] = {}
    named: list[int] = []
    values: list[float] = []
    levels: list[float | None] = []
    counts: list[int] = []
    with pause_collection():
        for record in records:
            before = len(values)
            for setting, rows in _rows_by_setting(record):
                for measure, metric, condition, value, unit, level in rows:
                    named.append(names.setdefault((measure, setting, metric, condition, unit), len(names)))
                    values.append(value)
                    levels.append(level)
            counts.append(len(values) - before)
    # Few different names are repeated in many rows, so each becomes a category once.
    columns = ["measure", "setting", "metric", "condition", "unit"]
    table = pd.DataFrame(list(names), columns=columns, dtype="category").take(named)
    numbers = {name: np.array(numbers, dtype=float) for name, numbers in (("level", levels), ("value", values))}
    owners = np.repeat(np.arange(len(records)), counts)
    return owners, table.reset_index(drop=True).assign(**numbers)[ROW_COLUMNS]


def _rows_by_setting(record: Record) -> list[tuple[str, list[Row]]]:
    training = [] if record.training is None else [("default", record.training.rows)]
    return training + [(measure_setting(spec), taken.rows) for spec, taken in record.measures.items()]


def to_strings(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table with strings instead of categories."""
    # `astype` would make a new string for each row; the rows share those of the categories here.
    names = [str(name) for name in table.select_dtypes("category")]
    strings = {name: table[name].cat.categories.astype(str).take(table[name].cat.codes.to_numpy()) for name in names}
    return table.assign(**{name: values.array for name, values in strings.items()})


def describe_cells(cells: Iterable[Cell]) -> pd.DataFrame:
    """Returns a table with one row for each cell, as `capsbench.records.cell.describe_cell`.

    Two components of a user may have options of one name and different types. Such a column is converted to strings, since files
    of columns have one type for each.
    """
    table = pd.DataFrame([describe_cell(cell) for cell in cells])
    mixed = [name for name in table if table[name].dtype == object and len({*map(_type_of, table[name].dropna())}) > 1]
    return table.assign(**{str(name): table[name].map(str, na_action="ignore") for name in mixed})


def _type_of(value: object) -> type:
    """Returns the type of a value; whole numbers count as float."""
    return float if type(value) is int else type(value)


def history_of(records: list[Record]) -> pd.DataFrame:
    """Returns training curves: one row = one cell x one epoch, with `COLUMNS` and the numbers of the epoch."""
    rows = []
    for record in records:
        fields = record.cell.model_dump(mode="json")
        described = {"cell": record.cell.id, **{name: fields[name] for name in COLUMNS[1:]}}
        # The cell's fields win over a number of the same name.
        rows += [{**epoch, **described} for epoch in record.history]
    return pd.DataFrame(rows)


def predictions(folder: str | Path = "results") -> pd.DataFrame:
    """Loads the predictions on record in a folder as one tidy table: one row = one cell x one test image.

    They are those that the measure ``accuracy`` kept; nothing is computed. A cell without them, or whose file of them is not in
    the folder, has no rows. Columns: those that `capsbench.load` begins with, then `IMAGE_COLUMNS`. Labels are numbers of
    classes; if an image has several, label and prediction are tuples in ascending order.

    Raises:
        UsageError: the folder does not exist, or a file of predictions was changed or does not fit its record.
    """

    def read() -> pd.DataFrame:
        store = Store(folder)
        check_folder(store, "folder")
        return predictions_of(store.records()[0], store.folder)

    return read_whole(Path(folder), "folder", read)


def predictions_of(records: Iterable[Record], folder: Path) -> pd.DataFrame:
    """Returns the table of `predictions` of some records in a folder."""
    tables, owners = [], []
    for record in records:
        table = _read_predictions(record, folder)
        if table is not None:
            tables.append(table)
            owners.append(record.cell)
    if not tables:
        return pd.DataFrame(columns=[*COLUMNS, *IMAGE_COLUMNS])
    cells = describe_cells(owners)[COLUMNS].astype({"iterations": "Int64"})
    repeated = cells.take(np.repeat(np.arange(len(tables)), [len(table) for table in tables]))
    return pd.concat([repeated.reset_index(drop=True), pd.concat(tables, ignore_index=True)], axis="columns")


def _read_predictions(record: Record, folder: Path) -> pd.DataFrame | None:
    """Returns the kept predictions of a record, with `IMAGE_COLUMNS`; None if there are none."""
    taken = record.find_measurement(ACCURACY)
    if taken is None:
        return None
    try:
        arrays = read_kept(folder, taken)
    except UsageError as error:
        if error.kind is Kind.MISSING:
            return None
        raise
    if not {"label", "prediction"} <= arrays.keys():
        return None
    labels, predicted = arrays["label"], arrays["prediction"]
    if labels.ndim > 1 and labels.dtype != np.bool_:
        labels = np.sort(labels, axis=1)
    return pd.DataFrame(
        {
            "image": np.arange(len(labels)),
            "label": _to_column(labels),
            "prediction": _to_column(predicted),
            "correct": are_correct(predicted, labels),
            "nll": arrays.get("nll", np.full(len(labels), np.nan)).astype(float),
        }
    )


def _to_column(classes: NDArray[Any]) -> pd.Series:
    """Returns classes ``[N]`` as numbers, and ``[N, K]`` as tuples, as which a mask ``[N, classes]`` has the classes it names."""
    if classes.dtype == np.bool_:
        return pd.Series([tuple(map(int, np.flatnonzero(row))) for row in classes])
    return pd.Series(classes.astype(int) if classes.ndim == 1 else [tuple(map(int, row)) for row in classes])
