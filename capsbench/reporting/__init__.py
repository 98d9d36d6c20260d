"""Tables and pictures of what is on record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from capsbench.errors import NothingMeasured, UsageError
from capsbench.reporting.document import machines, page
from capsbench.reporting.files import content, picture_files, write_files
from capsbench.reporting.published import Comparison, compare
from capsbench.reporting.published import readable as readable_published
from capsbench.reporting.published import table_of as published_table
from capsbench.reporting.section import Material
from capsbench.reporting.sections import PICTURES, Made, drawn, made_sections, picture_names, table_names
from capsbench.reporting.tables import summary
from capsbench.reporting.text import readable
from capsbench.store import Record, Run, Store, table_of
from capsbench.suites import read_suite

__all__ = ["NothingMeasured", "Report", "report"]

PUBLISHED_FILES = ("published.csv", "published.parquet")
"""What a report has beside a suite with published numbers."""


@dataclass(frozen=True)
class Report:
    """What a report says, and where it is.

    Attributes:
        summary: one row a contender, in numbers (`capsbench.reporting.tables.summary`).
        readable: the same as strings.
        published: published numbers beside measured ones, where a suite has some (`capsbench.reporting.published`).
        published_readable: the same as strings.
        sections: what each measure adds, with its table in numbers and in strings.
        failed: title and reason of each failed cell.
        missing: cells of the run that have no record.
        faults: a line for each file that is not a whole record.
        files: what was written.
        notes: what a reader should know, such as which picture could not be made.
    """

    summary: pd.DataFrame
    readable: pd.DataFrame
    published: pd.DataFrame
    published_readable: pd.DataFrame
    sections: list[Made]
    failed: list[tuple[str, str]]
    missing: int
    faults: list[str]
    files: list[Path]
    notes: list[str]


def report(
    folder: str | Path = "results",
    *,
    run: str | None = None,
    everything: bool = False,
    suite: str | Path | None = None,
    to: str | Path | None = None,
) -> Report:
    """Writes the tables and pictures of a run: table.csv, .md and .parquet, rows.csv, a CSV a section, pictures as PNG and SVG.

    With a suite that has published numbers, published.csv and .parquet as well, and their table in table.md.

    Args:
        folder: the results folder.
        run: the name of a run (``runs/NAME.json``); the latest if None, or all records where no run is noted.
        everything: all records of the folder rather than one run's.
        suite: whose published numbers stand beside; that of the run if None.
        to: where to write; ``folder/report`` if None.

    Raises:
        NothingMeasured: there is no record to report on.
        UsageError: there is no such run or ``suite``, or ``to`` cannot be written.
    """
    store = Store(folder)
    records, faults = store.records()
    chosen = None if everything else _chosen(store, run)
    if chosen is not None:
        by_id = {record.cell.id: record for record in records}
        records = [by_id[cell] for cell in chosen.cells if cell in by_id]
    records = store.joined(records)
    if not records:
        raise NothingMeasured(_why_nothing(store, chosen, faults))

    table = summary(records)
    shown = readable(table)
    material = Material.of(records, store)
    sections = made_sections(material)
    pictures = PICTURES | {name: draw for made in sections for name, draw in made.section.pictures.items()}
    figures, notes = drawn(pictures, material)
    unmeasured = sum(record.status == "trained" for record in records)
    if unmeasured:
        notes.append(
            f"{unmeasured} of the cells are trained and yet to be measured in full; the same run goes on with them"
        )
    notes += _cautions(table, records)
    comparisons, fault = _compared(suite, chosen, records)
    notes += fault
    left_out = chosen.left_out if chosen else {}
    notes += [f"{dataset} was left out of the run: {reason}" for dataset, reason in left_out.items()]
    against, shown_against = published_table(comparisons), readable_published(comparisons)
    missing = len(chosen.cells) - len(records) if chosen else 0
    contents: dict[str, bytes] = {
        "table.csv": table.to_csv(index=False).encode(),
        "table.md": page(shown, shown_against, sections, figures, records, chosen, missing, faults, notes).encode(),
        "table.parquet": _parquet(table),
        "rows.csv": table_of(records).to_csv(index=False).encode(),
        **{f"{made.section.name}.csv": made.numbers.to_csv(index=False).encode() for made in sections},
        **picture_files(figures),
    }
    if len(against):
        contents |= {"published.csv": against.to_csv(index=False).encode(), "published.parquet": _parquet(against)}
    return Report(
        summary=table,
        readable=shown,
        published=against,
        published_readable=shown_against,
        sections=sections,
        failed=[(record.cell.title, record.reason) for record in records if record.reason],
        missing=missing,
        faults=faults,
        files=write_files(
            Path(to or store.folder / "report"), contents, picture_names(), [*PUBLISHED_FILES, *table_names()]
        ),
        notes=notes,
    )


def _parquet(table: pd.DataFrame) -> bytes:
    return content(lambda file: table.convert_dtypes().to_parquet(file, index=False))


def _compared(suite: str | Path | None, run: Run | None, records: list[Record]) -> tuple[list[Comparison], list[str]]:
    """The published numbers of the suite asked for, else of the run's own; and why there are none, where its file is at fault."""
    named = suite or (run.suite if run else None)
    if named is None:
        return [], []
    try:
        return compare(read_suite(named), records, run.left_out if run else {}), []
    except UsageError as error:
        if suite is not None:
            raise
        return [], [f"no published numbers: {error}"]


def _chosen(store: Store, name: str | None) -> Run | None:
    runs = store.runs()
    if name is None:
        return runs[-1] if runs else None
    for each in runs:
        if each.name == name:
            return each
    known = ", ".join(each.name for each in runs[-5:]) or "none"
    raise UsageError(f"--run {name}: no such run in {store.folder}; the latest are: {known}")


def _why_nothing(store: Store, run: Run | None, faults: list[str]) -> str:
    if faults:
        return f"{store.folder}: no whole record here, {len(faults)} damaged; the first: {faults[0]}"
    if run is not None:
        return f"{store.folder}: none of the {len(run.cells)} cells of run {run.name} is on record yet: {run.command}"
    return f"{store.folder}: no records here; `capsbench run` makes some"


def _cautions(table: pd.DataFrame, records: list[Record]) -> list[str]:
    notes = []
    if machines(records) > 1:
        notes.append("times and memory are from different machines: compare them within one only")
    return notes
