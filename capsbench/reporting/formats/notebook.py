"""A report in a notebook: the answer or the sentences on who won, the headline table and the first pictures."""

from __future__ import annotations

from pathlib import Path

from capsbench.presenting.notebook import Grid, Output, Shot
from capsbench.reporting.document import Document
from capsbench.reporting.headline import HEADLINE
from capsbench.reporting.sections.answer import ANSWER


def describe_report(document: Document, page: Path | None) -> Output:
    """Returns what a notebook shows of a report.

    Args:
        document: its content.
        page: the file of the page, if it was written.
    """
    statements = [statement for part in document.parts if part.name == ANSWER for statement in part.statements]
    answers = [line for statement in statements for line in (statement.lead, *statement.items)]
    lead, *items = answers or document.quotes or [f"{document.title}: {document.no_quotes}"]
    tables = [part.table for part in document.parts if part.name == HEADLINE and part.table]
    # Tables have a caption of sentences on the page; here are only the meanings of their signs.
    return Output(
        lead,
        cautions=[words for _, words in document.cautions],
        items=items,
        tables=[Grid(table.headings, table.rows, table.numbers, table.title) for table in tables],
        shots=[
            shot
            for part in document.parts
            for name, image in part.pictures.items()
            if (shot := Shot.from_files(name, image.title, image.files, image.width))
        ],
        notes=[*(mark for table in tables for mark in table.marks), *([f"The page: {page}"] if page else [])],
    )
