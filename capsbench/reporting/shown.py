"""The pictures that `capsbench show` left in a results folder, for the page of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import StringConstraints, TypeAdapter

from capsbench.errors import UsageError
from capsbench.planning.contender_defaults import title_cells
from capsbench.records.disk import read_file
from capsbench.records.parse import UnfitError, parse_json
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.svg import CheckedSvg, read_picture


class Drawing(NamedTuple):
    """A picture that `capsbench show` drew: its file, title and caption, and the SVG that is safe on a page."""

    path: Path
    title: str
    caption: str
    drawn: CheckedSvg


class ShownCell(NamedTuple):
    """A cell that `capsbench show` drew."""

    cell: str
    title: str
    drawings: list[Drawing]


class _Entry(NamedTuple):
    """A line of `capsbench show`'s list of pictures; the name is that of a file in the same folder."""

    name: Annotated[str, StringConstraints(pattern=r"^[\w-]+$", max_length=100)]
    title: str
    caption: str


_ENTRIES = TypeAdapter(list[_Entry])


def read_shown(records: list[Record], store: Store) -> tuple[list[ShownCell], list[str]]:
    """Returns the pictures of the records' cells, and a line for each file that cannot be read."""
    lists = {path.parent.name: path for path in sorted(store.folder.glob("shown/*/shown.json"))}
    titles = title_cells(record.cell for record in records) if lists else {}
    cells, faults = [], []
    for record in records if lists else ():
        path = lists.get(record.cell.id)
        if path is None:
            continue
        remedy = f"`capsbench show {record.cell.id}` makes it again"
        try:
            entries = parse_json(_ENTRIES, read_file(path))
        except (OSError, UnfitError):
            faults.append(f"{path}: not a list of pictures; {remedy}")
            continue
        drawings = []
        for entry in entries:
            picture = path.parent / f"{entry.name}.svg"
            try:
                drawings.append(Drawing(picture, entry.title, entry.caption, read_picture(picture)))
            except UsageError as error:
                faults += [f"{error}; {remedy}"] if picture.exists() else []
        cells.append(ShownCell(record.cell.id, titles[record.cell.id], drawings))
    return cells, faults
