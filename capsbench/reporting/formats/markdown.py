"""A report as one Markdown page."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from capsbench.presenting.format import spell_seeds
from capsbench.presenting.markdown import escape_markdown, format_code, format_pipes, format_prose
from capsbench.reporting.document import Document, Part, Table


def render_markdown(document: Document, folder: Path, form: str | None) -> str:
    """The report as Markdown.

    Args:
        folder: where it will lie.
        form: the format of the pictures beside it; None: it has none.
    """
    parts = [f"# {escape_markdown(document.title)}"]
    if document.cautions:
        parts.append(f"**{escape_markdown('; '.join(words for _, words in document.cautions))}.**")
    parts += [block for part in document.parts for block in _render_part(part, form)]
    parts += [] if document.parts else ["No cell finished."]
    if document.shown:
        parts.append("## What the networks see")
        for each in document.shown:
            parts.append(f"### {escape_markdown(each.title)}")
            for drawing in each.drawings:
                link = os.path.relpath(drawing.path.resolve(), folder.resolve())
                parts.append(_render_picture(drawing.title, link, drawing.caption))
    if document.commands:
        parts.append("## Run it again")
        for made in document.commands:
            said = f"{escape_markdown(made.name)}, {spell_seeds(made.seeds)}" + (
                f" ({format_prose(made.again.note)})" if made.again.note else ""
            )
            command = made.again.command.replace("\n", "\n    ")
            parts.append(said + (f":\n\n    {command}" if command else ""))
    parts += _render_list(
        "Failed cells",
        [
            f"{escape_markdown(each.title)}, {spell_seeds(each.seeds)}: {escape_markdown(each.reason)}"
            + (f"; {format_code(each.again.command)}" if each.again.command else "")
            for each in document.failed
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
    blocks = [f"## {escape_markdown(part.title)}"]
    if part.table:
        blocks += _render_table(part.table)
    if form:
        blocks += [_render_picture(each.title, f"{name}.{form}", each.caption) for name, each in part.pictures.items()]
    return blocks


def _render_picture(title: str, link: str, caption: str) -> str:
    return f"![{escape_markdown(title)}]({link})\n\n{escape_markdown(title)}. {format_prose(caption)}"


def _render_table(table: Table) -> list[str]:
    return [
        format_pipes(table.headings, table.numbers, table.rows),
        format_prose(table.caption),
        *map(format_prose, table.marks),
    ]


def _render_list(title: str, lines: Iterable[str]) -> list[str]:
    lines = [f"- {line}" for line in lines]
    return ["\n".join([f"## {title}", "", *lines])] if lines else []
