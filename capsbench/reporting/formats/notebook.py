"""A report in a notebook: the answer or who won, the headline table and a picture; the page has the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from capsbench.presenting.notebook import Grid, Output, Shot
from capsbench.reporting.contents import Made
from capsbench.reporting.document import HEADLINE, WINNERS, Document


def describe_report(document: Document, answer: Made | None, sections: Sequence[Made], page: Path | None) -> Output:
    """Returns what a notebook shows of a report.

    Args:
        document: its content.
        answer: the section that answers for one contender, if one was asked about.
        sections: those with data.
        page: the file of the page, if it was written.
    """
    statements = [(statement.lead, statement.items) for statement in (answer.statements if answer else ())]
    lines = [*statements, *((line, []) for line in list_winners(sections))]
    (lead, items), *others = lines or [
        (f"{document.title}: no comparison, since there is one contender or all have collapsed", [])
    ]
    tables = [part.table for part in document.parts if part.name == HEADLINE and part.table]
    # Tables have a caption of sentences on the page; here are only the meanings of their signs.
    return Output(
        lead,
        cautions=[words for _, words in document.cautions],
        items=[*items, *(line for line, _ in others)],
        tables=[Grid(table.headings, table.rows, table.numbers, table.title) for table in tables],
        shots=[
            shot
            for part in document.parts
            for name, image in part.pictures.items()
            if (shot := Shot.from_files(name, image.title, image.files, image.width))
        ],
        notes=[*(mark for table in tables for mark in table.marks), *([f"The page: {page}"] if page else [])],
    )


def list_winners(sections: Sequence[Made]) -> list[str]:
    """Returns a line for each row of "who won": the number, the contender with the best mean, and the verdict on the others."""
    strings = [section.readable for section in sections if section.section.name == WINNERS]
    return [
        f"{f'{row.on}: ' if getattr(row, 'on', '') else ''}{row.measured}: {row.first}, {row.value}. {row.others}"
        for table in strings
        for row in table.rename(columns={"the others": "others"}).itertuples(index=False)
    ]
