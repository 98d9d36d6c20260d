"""What a report says, before it is Markdown, HTML or LaTeX: tables of strings, pictures, and what is to be known beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import pandas as pd
from pydantic import StringConstraints, TypeAdapter

from capsbench.errors import UsageError
from capsbench.measures.speed.spec import SPEED
from capsbench.planning.contender_defaults import title_cells
from capsbench.planning.request import spell_flag
from capsbench.presenting.caption import spell_caption
from capsbench.presenting.figures.figure import Image
from capsbench.presenting.format import CAPTION, HOLDS, HOLDS_MEANS, describe_sizes, format_summary, parse_quantity
from capsbench.presenting.marks import explain
from capsbench.presenting.material import Material
from capsbench.presenting.words import shorten_name
from capsbench.records.cell import Cell
from capsbench.records.disk import read_file
from capsbench.records.parse import UnfitError, parse_json
from capsbench.records.record import Record, Run
from capsbench.records.store import Store
from capsbench.reporting.contents import PICTURES, Made
from capsbench.reporting.rerun import Again, Failure, Groups, Repeats, group_records
from capsbench.reporting.sections.published import CAPTION as PUBLISHED_CAPTION
from capsbench.reporting.svg import Drawn, read_picture
from capsbench.reporting.unfinished import Unfinished, count_cells

MACHINE = ("cpu", "cores", "gpu", "driver", "cuda", "threads", "backend")
SOFTWARE = ("capsbench", "python", "torch", "triton")

HEADLINE, WINNERS = "table", "winners"
"""The parts that stand first; their names are those of their files."""

MOST_NAMED = 3
"""Routings or data sets that a title names; of more it says how many."""

ALL = "all"
"""Stands for the largest number in a column of numbers: all training images."""


@dataclass(frozen=True)
class Table:
    """A table of strings.

    Attributes:
        name: of its file, without ending.
        title: a short phrase.
        headings: of its columns; a unit that all of a column's numbers have stands here, not beside each.
        numbers: whether a column is of numbers.
        rows: the strings, a list a row.
        caption: how to read it, in sentences.
        marks: what the marks behind its numbers and names mean, as far as they occur.
        grouped: whether the rows below one belong to it where their first string is empty; they cannot be put into another order.
        contenders: the identity of each row, where a row is a contender.
    """

    name: str
    title: str
    headings: list[str]
    numbers: list[bool]
    rows: list[list[str]]
    caption: str
    marks: list[str]
    grouped: bool = False
    contenders: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, title: str, shown: pd.DataFrame, caption: str, contenders: Iterable[str] = ()) -> Table:
        """A table of strings as it is shown."""
        rows = [list(map(str, line)) for line in shown.itertuples(index=False)]
        headings, numbers = [], []
        for place, heading in enumerate(map(str, shown.columns)):
            found = [(row, parse_quantity(row[place])) for row in rows if row[place] not in ("", ALL)]
            numbers.append(bool(found) and all(each is not None for _, each in found))
            units = {each.unit for _, each in found if each is not None}
            unit = units.pop() if numbers[-1] and len(units) == 1 else ""
            if unit:
                for row, each in found:
                    row[place] = each.bare if each is not None else row[place]
            headings.append(f"{heading} ({unit})" if unit and unit not in heading else heading)
        strings = [string for row in rows for string in row]
        marks = [HOLDS_MEANS] if f"{HOLDS}:" not in caption and any(each.endswith(HOLDS) for each in strings) else []
        marks += explain(strings)
        grouped = any(row[0] == "" for row in rows[1:])
        return cls(name, title, headings, numbers, rows, to_sentence(caption), marks, grouped, list(contenders))


@dataclass(frozen=True)
class Part:
    """A part of a report: a heading with a table, pictures or both."""

    name: str
    title: str
    table: Table | None = None
    pictures: dict[str, Image] = field(default_factory=dict)


class Drawing(NamedTuple):
    """A picture that `capsbench show` left of a cell: its file, what is said of it, and what of it a page takes in."""

    path: Path
    title: str
    caption: str
    drawn: Drawn


class _Listed(NamedTuple):
    """A line of `capsbench show`'s list of pictures; the name is that of a file beside the list."""

    name: Annotated[str, StringConstraints(pattern=r"^[\w-]+$", max_length=100)]
    title: str
    caption: str


_LISTED = TypeAdapter(list[_Listed])


class Shown(NamedTuple):
    """What `capsbench show` left of a cell."""

    cell: str
    title: str
    drawings: list[Drawing]


class Reproduction(NamedTuple):
    """A row of the headline table and how its cells are made again."""

    contender: str
    name: str
    seeds: list[int]
    cells: list[str]
    again: Again


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: what it is about.
        command: what was run, empty where the records are of no one run.
        facts: what was run and where: a term and what there is to it.
        parts: who won, the headline table, published numbers and the sections, as far as there are.
        shown: what `capsbench show` left of its cells.
        failed: cells that failed.
        unfinished: what of the run is still to be done.
        left_out: what the run could not have, and why.
        faults: a line for each file that cannot be read, or not as it was written.
        notes: what else a reader should know.
        commands: how each row is made again.
    """

    title: str
    command: str
    facts: list[tuple[str, list[str]]]
    parts: list[Part]
    shown: list[Shown]
    failed: list[Failure]
    unfinished: Unfinished
    left_out: dict[str, str]
    faults: list[str]
    notes: list[str]
    commands: list[Reproduction]

    @property
    def still_to_run(self) -> list[str]:
        """Lines on the cells that the run has not done with, where there are any."""
        fresh = spell_flag("fresh")
        without = f", without {fresh}," if fresh in self.command.split() else ""
        return [f"{line}; the run's command{without} goes on with them" for line in self.unfinished.lines]

    @property
    def incomplete(self) -> list[tuple[str, str]]:
        """What is missing of the run: the name of the part that says more, and the words."""
        failed = sum(len(each.seeds) for each in self.failed)
        said = [("failed", f"{count_cells(failed)} failed")] if failed else []
        return said + [("unfinished", line) for line in self.unfinished.lines]

    @property
    def cautions(self) -> list[tuple[str, str]]:
        """What a reader has to know before any number, as `incomplete`."""
        said = self.incomplete
        if self.left_out:
            said.append(("left-out", f"left out: {', '.join(self.left_out)}"))
        if self.faults:
            count = len(self.faults)
            said.append(("faults", "1 file could not be read" if count == 1 else f"{count} files could not be read"))
        if any("uncommitted" in line for term, lines in self.facts if term == "commit" for line in lines):
            said.append(("origin", "some of it was run with uncommitted changes"))
        return said


def build_document(
    material: Material,
    records: list[Record],
    sections: Sequence[Made],
    published: pd.DataFrame,
    pictures: Mapping[str, Image],
    repeats: Repeats,
    store: Store,
    run: Run | None,
    unfinished: Unfinished,
    faults: list[str],
    notes: list[str],
    where: Sequence[str] = (),
) -> Document:
    """The report on some records.

    Args:
        material: what is made of the records.
        records: all of them, the failed ones too.
        sections: what each measure adds.
        published: published numbers beside measured ones, as strings.
        pictures: those that there is data for, by name.
        repeats: how their cells are made again.
        store: where the records are.
        run: which they are of.
        unfinished, faults, notes: see `Document`.
        where: how the records were chosen.
    """
    shown, broken = _read_shown(records, store)
    return Document(
        title=_spell_title(records),
        command=run.command if run else "",
        facts=describe_origin(records, run, where),
        parts=_build_parts(material, sections, published, pictures),
        shown=shown,
        failed=repeats.failures,
        unfinished=unfinished,
        left_out=run.left_out if run else {},
        faults=[*faults, *broken],
        notes=notes,
        commands=_list_reproductions(material.summary, group_records(records), repeats.contenders),
    )


def _build_parts(
    material: Material, sections: Sequence[Made], published: pd.DataFrame, pictures: Mapping[str, Image]
) -> list[Part]:
    parts = []
    if len(material.summary):
        own = {name: pictures[name] for name in PICTURES if name in pictures}
        parts.append(Part(HEADLINE, "Accuracy and cost", build_headline(material.summary), own))
    if len(published):
        title = "Paper against measured"
        parts.append(Part("published", title, Table.of("published", title, published, PUBLISHED_CAPTION)))
    for made in sections:
        section = made.section
        own = {name: pictures[name] for name in section.pictures if name in pictures}
        table = Table.of(section.name, section.title, made.readable, made.caption)
        parts.insert(0 if section.name == WINNERS else len(parts), Part(section.name, section.title, table, own))
    return parts


def build_headline(summary: pd.DataFrame) -> Table:
    """The table of the contenders: their names first, and what is the same in all rows in its caption."""
    shown = format_summary(summary)
    shown.insert(0, "contender", summary["label"])
    naming = list(shown.columns[1 : shown.columns.get_loc("n")])
    same = [name for name in naming if shown[name].nunique() == 1]
    capsules = shown[summary["routing"].notna()]
    of_capsules = [name for name in ("network", "routing") if name not in same and capsules[name].nunique() == 1]
    alike = [
        f"{which}: {', '.join(f'{name} {rows[name].iloc[0]}' for name in names)}."
        for which, rows, given in (("In all rows", shown, same), ("Capsule networks", capsules, of_capsules))
        if (names := [name for name in given if rows[name].iloc[0]])
    ]
    left = shown.drop(columns=[*same, *of_capsules]).drop(columns="marks", errors="ignore")  # signs stand by the names
    caption = " ".join([spell_caption(CAPTION, left), *describe_sizes(summary), *alike])
    return Table.of(HEADLINE, "Accuracy and cost", left, caption, summary["contender"])


def to_sentence(text: str) -> str:
    """A caption as it is printed: with a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")


def describe_origin(records: list[Record], run: Run | None, where: Sequence[str] = ()) -> list[tuple[str, list[str]]]:
    """Cells, command, commit, versions and machines of some records; what differs among them is listed."""
    counts = {state: sum(record.status == state for record in records) for state in ("finished", "trained", "failed")}
    words = {"finished": "finished", "trained": "trained and yet to be measured in full", "failed": "failed"}
    cells = ", ".join(f"{count} {words[state]}" for state, count in counts.items() if count)
    commits = {(fact.get("commit"), fact.get("dirty")) for fact in (record.provenance for record in records)}
    started = sorted(record.training.started for record in records if record.training and record.training.started)
    facts = {
        "cells": [cells] if cells else [],
        "chosen by": list(where),
        "run": [run.name] if run else [],
        "command": [run.command] if run else [],
        "measured": [_spell_period(started[0], started[-1])] if started else [],
        "machine": _list_values(records, MACHINE),
        "software": _list_values(records, SOFTWARE),
        "commit": [
            f"{commit}{' with uncommitted changes' if dirty else ''}"
            for commit, dirty in sorted(commits, key=str)
            if commit
        ],
    }
    return [(term, lines) for term, lines in facts.items() if lines]


def _spell_period(first: str, last: str) -> str:
    """``2026-11-22 23:28:24 to 23:31:46 UTC``."""
    try:
        start, end = (datetime.fromisoformat(each).astimezone(UTC) for each in (first, last))
    except (ValueError, OverflowError):
        return f"{first} to {last}"
    same_day = start.date() == end.date()
    return f"{start:%Y-%m-%d %H:%M:%S} to {end.strftime('%H:%M:%S' if same_day else '%Y-%m-%d %H:%M:%S')} UTC"


def count_machines(records: list[Record]) -> int:
    """How many kinds of processor the finished records' times are from."""
    timed = [record.find_measurement(SPEED) or record for record in records if record.status == "finished"]
    return len({(each.provenance.get("cpu"), each.provenance.get("gpu")) for each in timed})


def _list_values(records: list[Record], names: Iterable[str]) -> list[str]:
    facts = [_collect_facts(record) for record in records]
    found = {name: _join_distinct(fact.get(name) for fact in facts) for name in names}
    line = "; ".join(f"{name} {values}" for name, values in found.items() if values)
    return [line] if line else []


def _collect_facts(record: Record) -> dict[str, object]:
    """What is known of the machine and the software of a training."""
    backends = record.training.backends if record.training else []
    return {**record.provenance, "threads": record.cell.threads, "backend": ", ".join(backends) or None}


def _join_distinct(values: Iterable[object]) -> str:
    return ", ".join(sorted({str(value) for value in values if value is not None}))


def _spell_title(records: list[Record]) -> str:
    routings = {record.cell.routing for record in records if record.cell.routing}
    about = _spell_names(routings, "routings")
    which = "" if not routings else f": {about}" if len(routings) > MOST_NAMED else f": {about} routing"
    kind = "Capsule networks" if routings else "Networks"
    return f"{kind} on {_spell_names([record.cell.dataset for record in records], 'data sets')}{which}"


def _spell_names(values: Iterable[str], many: str) -> str:
    """The distinct values as a phrase, or their count where they are many."""
    each = sorted(set(map(shorten_name, values)))
    if len(each) > MOST_NAMED:
        return f"{len(each)} {many}"
    return " and ".join(filter(None, [", ".join(each[:-1]), each[-1]])) if each else ""


def _list_reproductions(summary: pd.DataFrame, groups: Groups, again: Mapping[str, Again]) -> list[Reproduction]:
    several = summary["dataset"].nunique() > 1
    made = []
    for identity, dataset, label in zip(summary["contender"], summary["dataset"], summary["label"], strict=True):
        cells = sorted((record.cell for record in groups[identity] if record.status != "failed"), key=_get_seed)
        seeds, ids = [cell.seed for cell in cells], [cell.id for cell in cells]
        made.append(Reproduction(identity, f"{dataset}: {label}" if several else label, seeds, ids, again[identity]))
    return made


def _get_seed(cell: Cell) -> int:
    return cell.seed


def _read_shown(records: list[Record], store: Store) -> tuple[list[Shown], list[str]]:
    """What `capsbench show` left of the records' cells, and a line for each file of it that cannot be read."""
    lists = {path.parent.name: path for path in sorted(store.folder.glob("shown/*/shown.json"))}
    titles = title_cells(record.cell for record in records) if lists else {}
    shown, faults = [], []
    for record in records if lists else ():
        path = lists.get(record.cell.id)
        if path is None:
            continue
        again = f"`capsbench show {record.cell.id}` makes it again"
        try:
            listed = parse_json(_LISTED, read_file(path))
        except (OSError, UnfitError):
            faults.append(f"{path}: not a list of pictures; {again}")
            continue
        drawings = []
        for each in listed:
            picture = path.parent / f"{each.name}.svg"
            try:
                drawings.append(Drawing(picture, each.title, each.caption, read_picture(picture)))
            except UsageError as error:
                faults += [f"{error}; {again}"] if picture.exists() else []
        shown.append(Shown(record.cell.id, titles[record.cell.id], drawings))
    return shown, faults
