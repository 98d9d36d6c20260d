"""A report as one Markdown page."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from capsbench.presenting.format import seeds
from capsbench.presenting.markdown import code, escaped, pipes, prose
from capsbench.reporting.document import Document, Part, Table


def markdown(document: Document, folder: Path, form: str | None) -> str:
    """The report as Markdown.

    Args:
        folder: where it will lie.
        form: the format of the pictures beside it; None: it has none.
    """
    parts = [f"# {escaped(document.title)}"]
    if document.cautions:
        parts.append(f"**{escaped('; '.join(words for _, words in document.cautions))}.**")
    parts += [block for part in document.parts for block in _part(part, form)]
    parts += [] if document.parts else ["No cell finished."]
    if document.shown:
        parts.append("## What the networks see")
        for each in document.shown:
            parts.append(f"### {escaped(each.title)}")
            for drawing in each.drawings:
                link = os.path.relpath(drawing.path.resolve(), folder.resolve())
                parts.append(_picture(drawing.title, link, drawing.caption))
    if document.commands:
        parts.append("## Run it again")
        for made in document.commands:
            said = f"{escaped(made.name)}, {seeds(made.seeds)}" + (
                f" ({prose(made.again.note)})" if made.again.note else ""
            )
            command = made.again.command.replace("\n", "\n    ")
            parts.append(said + (f":\n\n    {command}" if command else ""))
    parts += _list(
        "Failed cells",
        [
            f"{escaped(each.title)}, {seeds(each.seeds)}: {escaped(each.reason)}"
            + (f"; {code(each.again.command)}" if each.again.command else "")
            for each in document.failed
        ],
    )
    parts += _list("Not finished", document.still_to_run)
    parts += _list("Left out", [escaped(f"{name}: {reason}") for name, reason in document.left_out.items()])
    parts += _list("Files that cannot be read", map(prose, document.faults))
    parts += _list("Notes", map(prose, document.notes))
    facts = [
        f"{term}: {code(line) if term == 'command' else escaped(line)}"
        for term, lines in document.facts
        for line in lines
    ]
    parts += _list("Where the numbers are from", facts)
    return "\n\n".join(parts) + "\n"


def _part(part: Part, form: str | None) -> list[str]:
    blocks = [f"## {escaped(part.title)}"]
    if part.table:
        blocks += _table(part.table)
    if form:
        blocks += [_picture(each.title, f"{name}.{form}", each.caption) for name, each in part.pictures.items()]
    return blocks


def _picture(title: str, link: str, caption: str) -> str:
    return f"![{escaped(title)}]({link})\n\n{escaped(title)}. {prose(caption)}"


def _table(table: Table) -> list[str]:
    return [pipes(table.headings, table.numbers, table.rows), prose(table.caption), *map(prose, table.marks)]


def _list(title: str, lines: Iterable[str]) -> list[str]:
    lines = [f"- {line}" for line in lines]
    return ["\n".join([f"## {title}", "", *lines])] if lines else []
