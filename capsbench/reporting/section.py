"""What a part of a report is: a table and pictures that are made of what is on record.

A measure's part is one file beside this one with a `Section`, listed in `capsbench.reporting.sections`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor

from capsbench.reporting.style import styled
from capsbench.reporting.tables import contender, curves, summary
from capsbench.store import Record, Store, table_of


class NoDataError(ValueError):
    """What a table or a picture needs was not measured; the message says what."""


@dataclass(frozen=True)
class Material:
    """What a report is made of.

    - ``summary``: one row a contender, in the order of the headline table, with ``label`` (its name), ``series``, ``color``,
      ``shade`` (one a contender, where ``color`` is one a series), ``marker`` and ``dashes`` (`capsbench.reporting.style.styled`)
    - ``curves``: one row a cell and epoch, with ``contender``
    - ``rows``: `capsbench.store.load`'s tidy table of the records, with ``contender``
    - ``kept``: (measure, cell) -> the tensors that the measure kept of that cell; empty where there are none
    """

    summary: pd.DataFrame
    curves: pd.DataFrame
    rows: pd.DataFrame
    kept: Callable[[str, str], dict[str, Tensor]]

    @classmethod
    def of(cls, records: list[Record], store: Store) -> Material:
        """The material of some records of a results folder."""
        rows = table_of(records)
        identities = {record.cell.id: contender(record.cell) for record in records}
        return cls(
            summary=styled(summary(records)),
            curves=curves(records),
            rows=rows.assign(contender=rows["cell"].map(identities)),
            kept=store.kept,
        )

    def of_measure(self, measure: str) -> pd.DataFrame:
        """The rows of a measure; raises NoDataError where there are none."""
        rows = self.rows[self.rows["measure"] == measure]
        if rows.empty:
            raise NoDataError(f"{measure} was not measured")
        return rows

    def averaged(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Some of the rows as one row a contender, metric, condition and level, in the order of the summary.

        Columns: ``contender``, ``measure``, ``metric``, ``condition``, ``level``, ``unit``, ``value`` (the mean over seeds),
        ``n``, ``ci95`` (the half-width of its 95 % t-interval, empty for n = 1), and what the summary has of the contender.
        """
        by = ["contender", "measure", "metric", "condition", "level", "unit"]
        grouped = rows.groupby(by, dropna=False, sort=False)["value"]
        table = grouped.agg(value="mean", sem="sem", n="count").reset_index()
        table["ci95"] = table.pop("sem") * stats.t.ppf(0.975, table["n"] - 1)
        described = self.summary.drop(columns=["n"])
        order = {name: place for place, name in enumerate(described["contender"])}
        table = table.merge(described, on="contender")
        return table.sort_values("contender", key=lambda names: names.map(order), kind="stable", ignore_index=True)


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        name: file name, without ending, of its table.
        title: its heading.
        caption: how to read the table and the pictures, in a sentence or two.
        table: numbers, one row a contender (or contender and condition), those of people's interest first; raises NoDataError.
        readable: the table as strings under short headings; the first column is the contender's name, the others are numbers.
        pictures: file name without ending -> what draws it; raises NoDataError.
    """

    name: str
    title: str
    caption: str
    table: Callable[[Material], pd.DataFrame]
    readable: Callable[[pd.DataFrame], pd.DataFrame]
    pictures: Mapping[str, Callable[[Material], Figure]] = field(default_factory=dict)
