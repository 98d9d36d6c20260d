"""A report as one Markdown page."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from capsbench.presenting.format import spell_seeds
from capsbench.presenting.markdown import escape_markdown, format_code, format_pipes, format_prose
from capsbench.presenting.section import Statement
from capsbench.reporting.document import Document, Part
from capsbench.reporting.table import Table


def render_markdown(document: Document, folder: Path, form: str | None) -> str:
    """Returns the report as Markdown.

    Args:
        folder: the folder of its file.
        form: the format of the pictures in that folder; None: there are none.
    """
    parts = [f"# {escape_markdown(document.title)}"]
    if document.cautions:
        parts.append(f"**{escape_markdown('; '.join(words for _, words in document.cautions))}.**")
    parts += [block for part in document.parts for block in _render_part(part, form)]
    parts += [] if document.parts else ["No cell finished."]
    if document.shown:
        parts.append("## What the networks see")
        for cell in document.shown:
            parts.append(f"### {escape_markdown(cell.title)}")
            for drawing in cell.drawings:
                link = os.path.relpath(drawing.path.resolve(), folder.resolve())
                parts.append(_render_picture(drawing.title, link, drawing.caption))
    if document.commands:
        parts.append("## Run it again")
        for row in document.commands:
            note = f" ({format_prose(row.again.note)})" if row.again.note else ""
            command = row.again.command.replace("\n", "\n    ")
            heading = f"{escape_markdown(row.name)}, {spell_seeds(row.seeds)}{note}"
            parts.append(heading + (f":\n\n    {command}" if command else ""))
    parts += _render_list(
        "Failed cells",
        [
            f"{escape_markdown(failure.title)}, {spell_seeds(failure.seeds)}: {escape_markdown(failure.reason)}"
            + (f"; {format_code(failure.again.command)}" if failure.again.command else "")
            for failure in document.failed
        ],
    )
    parts += _render_list("Not finished", document.still_to_run)
    parts += _render_list(
        "Left out", [escape_markdown(f"{name}: {reason}") for name, reason in document.left_out.items()]
    )
    parts += _render_list("Files that cannot be read", map(format_prose, document.faults))
    parts += _render_list("Notes", map(format_prose, document.notes))
    facts = [
        f"{term}: {format_code(line) if term == 'command' else escape_markdown(line)}"
        for term, lines in document.facts
        for line in lines
    ]
    parts += _render_list("Where the numbers are from", facts)
    return "\n\n".join(parts) + "\n"


def _render_part(part: Part, form: str | None) -> list[str]:
    tables = _render_table(part.table) if part.table else []
    pictures = [
        _render_picture(image.title, f"{name}.{form}", image.caption) for name, image in part.pictures.items() if form
    ]
    statements = [block for statement in part.statements for block in _render_statement(statement)]
    # What is said in words has its picture beside it, and the numbers behind it follow.
    blocks = [*pictures, *tables] if statements else [*tables, *pictures]
    return [f"## {escape_markdown(part.title)}", *statements, *blocks]


def _render_statement(statement: Statement) -> list[str]:
    items = "\n".join(f"- {escape_markdown(item)}" for item in statement.items)
    return [
        block
        for block in (escape_markdown(statement.lead), items, escape_markdown(" ".join(statement.remarks)))
        if block
    ]


def _render_picture(title: str, link: str, caption: str) -> str:
    return f"![{escape_markdown(title)}]({link})\n\n{escape_markdown(title)}. {format_prose(caption)}"


def _render_table(table: Table) -> list[str]:
    return [
        format_pipes(table.headings, table.numbers, table.rows),
        format_prose(table.whole_caption),
        *map(format_prose, table.marks),
    ]


def _render_list(title: str, lines: Iterable[str]) -> list[str]:
    lines = [f"- {line}" for line in lines]
    return ["\n".join([f"## {title}", "", *lines])] if lines else []
