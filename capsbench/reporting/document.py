"""The content of a report, before it is Markdown, HTML or LaTeX: tables of strings, pictures, and facts about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from capsbench.planning.request import spell_flag
from capsbench.presenting.figures.figure import Image
from capsbench.presenting.material import Material
from capsbench.presenting.section import Statement
from capsbench.presenting.tuned import identify_contender
from capsbench.presenting.words import TIED
from capsbench.records.record import Record, Run
from capsbench.records.store import Store
from capsbench.reporting.answering.quotes import spell_quotes
from capsbench.reporting.answering.verdict import spell_no_verdicts, spell_question, spell_verdicts
from capsbench.reporting.contents import ACCURACIES, PICTURES, Made
from capsbench.reporting.headline import HEADLINE, build_headline, describe_matches
from capsbench.reporting.origin import describe_origin, spell_title
from capsbench.reporting.rerun import Again, Failure, Repeats
from capsbench.reporting.sections.answer import ANSWER
from capsbench.reporting.sections.published import CAPTION as PUBLISHED_CAPTION
from capsbench.reporting.shown import ShownCell, read_shown
from capsbench.reporting.table import Table
from capsbench.reporting.unfinished import Unfinished, count_cells

WINNERS = "winners"
"""One of the first parts; its name is that of its file."""

FIRST = (ANSWER, WINNERS)
"""The sections before the headline table, in order."""


@dataclass(frozen=True)
class Part:
    """A part of a report: a heading with statements, a table, pictures, or several of them."""

    name: str
    title: str
    table: Table | None = None
    pictures: dict[str, Image] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)


class Reproduction(NamedTuple):
    """A row of the headline table, and the command that makes its cells again."""

    contender: str
    name: str
    seeds: list[int]
    cells: list[str]
    again: Again


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: its subject.
        question: what its head answers; empty if no cell finished.
        commands_of_runs: the commands of the runs, each once.
        facts: where the numbers are from: a term and its lines.
        parts: who won, the headline table, published numbers and the sections, as far as there are.
        shown: the pictures of `capsbench show`.
        failed: the cells that failed.
        unfinished: the cells of the runs that are still to be done.
        left_out: a data set or network that the run could not have -> the reason.
        faults: a line for each file that cannot be read, or not as it was written.
        notes: further lines for the reader.
        commands: a command for each row.
        quotes: who won, in sentences to quote; with a contender that is asked about, the answer for it.
    """

    title: str
    question: str
    commands_of_runs: list[str]
    facts: list[tuple[str, list[str]]]
    parts: list[Part]
    shown: list[ShownCell]
    failed: list[Failure]
    unfinished: Unfinished
    left_out: dict[str, str]
    faults: list[str]
    notes: list[str]
    commands: list[Reproduction]
    quotes: list[str]

    @property
    def still_to_run(self) -> list[str]:
        """Lines on the cells of the runs that are still to be done."""
        fresh = spell_flag("fresh")
        without = f", without {fresh}," if any(fresh in command.split() for command in self.commands_of_runs) else ""
        return [f"{line}; the command of their run{without} goes on with them" for line in self.unfinished.lines]

    @property
    def no_quotes(self) -> str:
        """Why there is nothing to quote, in the words of the page."""
        reasons = [statement.lead for part in self.parts if part.name == WINNERS for statement in part.statements]
        return " ".join(reasons) or "No contender has a number on record."

    @property
    def incomplete(self) -> list[tuple[str, str]]:
        """The gaps of the runs: the name of the part that says more, and the words."""
        failed = sum(len(failure.seeds) for failure in self.failed)
        gaps = [("failed", f"{count_cells(failed)} failed")] if failed else []
        return gaps + [("unfinished", line) for line in self.unfinished.lines]

    @property
    def cautions(self) -> list[tuple[str, str]]:
        """The warnings that stand before any number, as `incomplete`."""
        warnings = self.incomplete
        if self.left_out:
            warnings.append(("left-out", f"left out: {', '.join(self.left_out)}"))
        if self.faults:
            count = len(self.faults)
            warnings.append(("faults", f"{'1 file' if count == 1 else f'{count} files'} could not be read"))
        if any("uncommitted" in line for term, lines in self.facts if term == "commit" for line in lines):
            warnings.append(("origin", "some of it was run with uncommitted changes"))
        return warnings


def build_document(
    material: Material,
    records: list[Record],
    sections: Sequence[Made],
    published: pd.DataFrame,
    pictures: Mapping[str, Image],
    repeats: Repeats,
    store: Store,
    runs: Sequence[Run],
    left_out: dict[str, str],
    unfinished: Unfinished,
    faults: list[str],
    notes: list[str],
    where: Sequence[str] = (),
    columns: Sequence[str] | None = None,
) -> Document:
    """Returns the report on some records.

    Args:
        material: the tables made of the records.
        records: all of them, the failed ones too.
        sections: one a measure that has numbers.
        published: published numbers and measured ones, as strings.
        pictures: those that have data, by name.
        repeats: the commands that make the cells again.
        store: the folder of the records.
        runs: the runs that they are from, oldest first.
        left_out, unfinished, faults, notes: see `Document`.
        where: the conditions that chose the records.
        columns: the columns of the headline table.
    """
    drawn_cells, broken = read_shown(records, store)
    return Document(
        title=spell_title(records),
        question=spell_question(_find_numbers(sections, WINNERS), material.summary, material.asked),
        commands_of_runs=list(dict.fromkeys(run.command for run in runs)),
        facts=describe_origin(records, runs, where),
        parts=_build_parts(material, sections, published, pictures, columns),
        shown=drawn_cells,
        failed=repeats.failures,
        unfinished=unfinished,
        left_out=left_out,
        faults=[*faults, *broken],
        notes=notes,
        commands=_list_reproductions(material.summary, records, repeats.contenders),
        quotes=_list_quotes(material, sections),
    )


def _build_parts(
    material: Material,
    sections: Sequence[Made],
    published: pd.DataFrame,
    pictures: Mapping[str, Image],
    columns: Sequence[str] | None,
) -> list[Part]:
    parts: list[Part] = []
    if len(material.summary):
        images = {name: pictures[name] for name in PICTURES if name in pictures and name != ACCURACIES}
        table = build_headline(material.summary, columns, describe_matches(material))
        parts.append(Part(HEADLINE, table.title, table, images))
    if len(published):
        title = "Paper against measured"
        table = Table.from_strings("published", title, published, PUBLISHED_CAPTION)
        parts.append(Part("published", title, table))
    for content in sections:
        section = content.section
        images = {name: pictures[name] for name in section.pictures if name in pictures}
        strings = content.readable
        made = None if strings.empty else Table.from_strings(section.name, section.title, strings, content.caption)
        statements = content.statements
        if section.name == WINNERS:
            statements, images = _build_head(content.numbers, material.summary, pictures)
        parts.append(Part(section.name, section.title, made, images, statements))
    if len(material.summary) and not any(part.name in FIRST for part in parts):
        statements, images = _build_head(pd.DataFrame(), material.summary, pictures)
        parts.append(Part(WINNERS, "Who won", None, images, statements))
    return sorted(parts, key=lambda part: FIRST.index(part.name) if part.name in FIRST else len(FIRST))


def _build_head(
    winners: pd.DataFrame, summary: pd.DataFrame, pictures: Mapping[str, Image]
) -> tuple[list[Statement], dict[str, Image]]:
    """Returns what the head of a report says, and its picture."""
    statements = [] if winners.empty else spell_verdicts(winners, summary)
    images = {name: pictures[name] for name in (ACCURACIES,) if name in pictures}
    return [*statements, *spell_no_verdicts(winners, summary)], images


def _find_numbers(sections: Sequence[Made], name: str) -> pd.DataFrame:
    """Returns the numbers of a section, an empty table if it has none."""
    return next((content.numbers for content in sections if content.section.name == name), pd.DataFrame())


def _list_quotes(material: Material, sections: Sequence[Made]) -> list[str]:
    named = {content.section.name: content for content in sections}
    if ANSWER in named:
        return [statement.lead.replace(TIED, " ") for statement in named[ANSWER].statements]
    return spell_quotes(named[WINNERS].numbers, material.summary) if WINNERS in named else []


def _list_reproductions(
    summary: pd.DataFrame, records: Sequence[Record], again: Mapping[str, Again]
) -> list[Reproduction]:
    """Returns a command for each contender, and of a tuned one a command for the winner of each study."""
    several = summary["dataset"].nunique() > 1
    groups: dict[str, dict[tuple[str, int], list[Record]]] = {}
    for record in records:
        if record.status != "failed":
            winner = (record.cell.contender, 0 if record.tuning is None else record.tuning.study)
            groups.setdefault(identify_contender(record), {}).setdefault(winner, []).append(record)
    reproductions = []
    for identity, dataset, label in zip(summary["contender"], summary["dataset"], summary["label"], strict=True):
        name = f"{dataset}: {label}" if several else label
        for (_, study), group in sorted(groups[identity].items(), key=lambda item: item[0][1]):
            cells = sorted((record.cell for record in group), key=lambda cell: cell.seed)
            title = name if len(groups[identity]) == 1 or group[0].tuning is None else f"{name}, study {study + 1}"
            seeds, ids = [cell.seed for cell in cells], [cell.id for cell in cells]
            reproductions.append(Reproduction(identity, title, seeds, ids, again[cells[0].contender]))
    return reproductions
