"""The records of a run as tables, from which reports are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from capsbench import registry
from capsbench.measures.spec import MeasureSpec
from capsbench.presenting.contenders import collect_curves, collect_times, summary, verdicts_of
from capsbench.presenting.figures.style import add_styles
from capsbench.presenting.marks import find_marks
from capsbench.presenting.naming import Defaults, no_defaults
from capsbench.presenting.paired import Pairs, find_sequences
from capsbench.presenting.tuned import group_studies
from capsbench.presenting.verdicts import Verdicts
from capsbench.records.cell import IMAGES
from capsbench.records.record import Record
from capsbench.records.specs import specs_of
from capsbench.records.store import Store
from capsbench.records.table import COLUMNS, ROW_COLUMNS, describe_cells, numbers_of, to_strings
from capsbench.records.tuning.trials import read_trials_and_faults
from capsbench.stats.differences import estimate_intervals


class NoDataError(ValueError):
    """A table or a picture cannot be made: what it needs is not on record.

    Args:
        missing: what it needs: a measure by its name, or a noun.
        lack: what is the matter with that; both together make the message.
    """

    def __init__(self, missing: str, lack: str = "was not measured") -> None:
        super().__init__(missing, lack)
        self.missing = missing
        self.lack = lack

    def __str__(self) -> str:
        return f"{self.missing} {self.lack}"


@dataclass(frozen=True)
class Material:
    """The tables of a report.

    - ``summary``: one row a contender, in the order of the headline table, with ``label`` (its name), ``series``, ``color``,
      ``face``, ``marker`` and ``dashes`` (`capsbench.presenting.figures.style.add_styles`), and a column a mark
      (`capsbench.presenting.marks.find_marks`)
    - ``curves``: one row a cell and epoch, with ``contender``
    - ``cells``: one row a cell: its fields, its options and ``contender``
    - ``rows``: one row a cell and number: ``cell``, ``contender``, ``dataset``, ``seed`` and
      `capsbench.records.table.ROW_COLUMNS`; names are categories, for quick comparisons; `select_rows` returns strings
    - ``times``: one row a cell and part of its work, with its ``seconds`` (`capsbench.presenting.contenders.collect_times`)
    - ``kept``: (measure, cell) -> the arrays that the measure kept of that cell; empty where there are none
    - ``verdicts``: the comparisons between contenders, and the steps of all numbers
    - ``specs``: measure -> what it declares of its numbers (`capsbench.records.specs.specs_of`)
    - ``defaults``: contender -> the defaults of its fields and options, as far as they are known
    - ``by``: the fields or options whose effect is asked for
    - ``asked``: the name of the contender whose answer is asked for, if any
    - ``tuned``: the tuned results, as they are on record
    - ``converged``: the results whose epochs were searched for, as they are on record
    - ``trials``: the trials of the searches in the folder
    - ``trial_faults``: a line for each file of them that cannot be read
    - ``class_names``: data set -> the names of its classes, of one that has them
    - ``unpredicted``: the cells whose predictions ``verdicts`` have looked for in vain so far
    """

    summary: pd.DataFrame
    curves: pd.DataFrame
    cells: pd.DataFrame
    rows: pd.DataFrame
    times: pd.DataFrame
    kept: Callable[[str, str], dict[str, NDArray[Any]]]
    verdicts: Verdicts
    specs: Mapping[str, MeasureSpec] = field(default_factory=dict)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    by: Sequence[str] = ()
    asked: str | None = None
    tuned: Sequence[Record] = ()
    converged: Sequence[Record] = ()
    trials: Sequence[Record] = ()
    trial_faults: Sequence[str] = ()
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unpredicted: set[str] = field(default_factory=set)

    @classmethod
    def from_records(
        cls, records: list[Record], store: Store, by: Sequence[str] = (), defaults: Defaults = no_defaults
    ) -> Material:
        """The material of some records of a results folder; ``defaults`` are those of `capsbench.presenting.naming.Names`."""
        results, networks, origins, members = group_studies(records)
        measured = [record for record in results if record.status != "failed"]
        trained = [record for record in networks if record.status != "failed"]
        counted = {origins[record.cell.id] for record in trained}
        known = [record for record in records if record.cell.id in counted and record.role == "result"]
        tuned = [record for record in known if record.tuning is not None]
        trials, trial_faults = read_trials_and_faults(store.folder) if tuned else ([], [])
        cells = describe_cells(record.cell for record in measured)
        cells["contender"] = [record.cell.contender for record in measured]
        owners, numbers = numbers_of(measured)
        named = cells.reindex(columns=["cell", "contender", "dataset", "seed"])
        named = named.astype(dict.fromkeys(("cell", "contender", "dataset"), "category")).take(owners)
        unpredicted: set[str] = set()

        by_cell = {record.cell.id: record for record in trained}

        def read_kept(measure: str, cell: str) -> dict[str, NDArray[Any]]:
            # What a study shows of a network, such as a picture, is that of its first seed.
            network = by_cell[members[cell][0] if cell in members else cell]
            return store.kept(network, measure)

        def read_predictions(measure: str, cell: str) -> dict[str, NDArray[Any]]:
            arrays = read_kept(measure, cell)
            if "prediction" not in arrays:
                unpredicted.add(origins[cell])
            return arrays

        pairs, sequences = Pairs(read_predictions, members), find_sequences(store.runs())
        verdicts = verdicts_of(results, pairs, by, read_kept, sequences)
        marks = find_marks(trained, read_kept)
        return cls(
            summary=add_styles(summary(results, verdicts, defaults).join(marks, on="contender")),
            curves=collect_curves(networks),
            cells=cells,
            rows=pd.concat([named.reset_index(drop=True), numbers], axis="columns"),
            times=collect_times(trained),
            kept=read_kept,
            verdicts=verdicts,
            specs=specs_of(measured),
            defaults={record.cell.contender: defaults(record.cell) for record in measured} if by else {},
            by=by,
            tuned=tuned,
            converged=[record for record in known if record.convergence is not None],
            trials=trials,
            trial_faults=trial_faults,
            class_names=_find_class_names(trained),
            unpredicted=unpredicted,
        )

    def of_measure(self, measure: str) -> pd.DataFrame:
        """The rows of a measure; raises NoDataError where there are none."""
        if not any(measure == known for known, _ in self._places):
            raise NoDataError(measure)
        return self.select_rows(self.rows["measure"] == measure)

    def of_number(self, measure: str, metric: str) -> pd.DataFrame:
        """The rows of a metric of a measure; none where it was not measured."""
        places = self._places.get((measure, metric))
        return self._strings.iloc[:0] if places is None else self._strings.take(places)

    def select_rows(self, which: pd.Series) -> pd.DataFrame:
        """Some of the rows, with strings."""
        return self._strings[which]

    @cached_property
    def _places(self) -> Mapping[Any, Any]:
        """Measure and metric -> the places of its rows: a report asks for many more than were measured."""
        return self.rows.groupby(["measure", "metric"], observed=True, sort=False).indices

    @cached_property
    def _strings(self) -> pd.DataFrame:
        """All rows, with strings: made once, as a report selects rows some hundred times."""
        return to_strings(self.rows)

    def to_tidy(self) -> pd.DataFrame:
        """The rows as `capsbench.load` has them, without those of the cells' fields in which all cells are alike."""
        beside = {*COLUMNS, *ROW_COLUMNS, "contender"}
        varied = [str(name) for name in self.cells if name not in beside and self.cells[name].nunique(dropna=False) > 1]
        described = self.cells.reindex(columns=[*COLUMNS, *varied]).convert_dtypes().astype({"iterations": "Int64"})
        owners = pd.Index(described["cell"]).get_indexer(pd.Index(self.rows["cell"].cat.categories))
        # As categories, of which a row takes a number, rather than half a million strings a column.
        strings = dict.fromkeys(described.select_dtypes(exclude=["number", "bool"]), "category")
        described = described.astype(strings).take(owners[self.rows["cell"].cat.codes])
        return pd.concat([described.reset_index(drop=True), self.rows[ROW_COLUMNS]], axis="columns")

    def spell_class(self, dataset: str, label: int) -> str:
        """Returns the name of a class, or its number."""
        names = self.class_names.get(dataset, ())
        return names[label] if label < len(names) else str(label)

    def with_steps(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Some of the rows with the step of each number (`capsbench.presenting.steps`) in a column ``step``."""
        return rows.assign(step=self.verdicts.steps.of_rows(rows))

    def average_seeds(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Some of the rows as one row a contender, metric, condition and level, in the order of the summary.

        Columns: ``contender``, ``measure``, ``metric``, ``condition``, ``level``, ``unit``, ``value`` (the mean over seeds),
        ``n``, ``ci95`` (the half-width of its 95 % t-interval, empty for n = 1), and what the summary has of the contender.
        """
        number = ["contender", "measure", "metric", "condition", "level", "unit"]
        grouped = self.with_steps(rows).groupby(number, dropna=False, sort=False)
        table = grouped.agg(value=("value", "mean"), sem=("value", "sem"), n=("value", "count"), step=("step", "first"))
        table = table.reset_index()
        table["ci95"] = estimate_intervals(table["value"], table.pop("sem"), table["n"], table.pop("step"))
        described = self.summary.drop(columns=["n"])
        order = {name: place for place, name in enumerate(described["contender"])}
        table = table.merge(described, on="contender")
        return table.sort_values("contender", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _find_class_names(records: Sequence[Record]) -> dict[str, list[str]]:
    """Returns data set -> the names of its classes: as records have them of a user's own images, else as declared."""
    described: dict[str, Mapping[str, str]] = {}
    for record in records:
        if record.training and record.cell.dataset not in described:
            described[record.cell.dataset] = record.training.sources.get(IMAGES, {})
    names = {
        dataset: [facts[str(label)] for label in range(len(facts)) if str(label) in facts]
        for dataset, facts in described.items()
        if facts
    }
    for dataset in described.keys() & registry.BUILT_IN["dataset"].keys():
        if declared := registry.get("dataset", dataset).class_names:
            names[dataset] = [*declared]
    return names
