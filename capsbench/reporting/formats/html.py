"""A report as one HTML file with its style, script and pictures; it loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from capsbench.presenting.figures.figure import Image
from capsbench.presenting.figures.style import NEUTRALS, PALETTE
from capsbench.presenting.format import parse_quantity, spell_seeds, split_interval
from capsbench.presenting.words import TIED, TIMES
from capsbench.reporting.document import Document, Part
from capsbench.reporting.shown import Drawing, ShownCell
from capsbench.reporting.table import ALL, Table

TEMPLATE = Path(__file__).parent / "templates"

COLOURS = NEUTRALS | {colour: f"series-{number}" for number, colour in enumerate(PALETTE)}
"""Colour of a picture -> the variable of the page that replaces it, with another value on a dark page."""

LONG = 24
"""Rows beyond which a table scrolls in a box."""

MANY = 8
"""Rows beyond which a table has a filter; the headline table always has one."""

PROSE = 36
"""Letters of a cell beyond which its column is broken into lines."""

WORDS = 18
"""Letters of a cell beyond which its column may be broken into a few lines."""

ROOM_FOR_SHOWN = 1_500_000
"""Bytes of the pictures of `capsbench show` on a page, which names the folder of the rest."""

PIXELS = 96 / 72
"""Pixels of CSS a typographic point."""

TOP = ("cells", "chosen by", "trained")
"""The facts below the answer, in one line; the last part of the page has all."""


def render_page(document: Document) -> str:
    """Returns the report as HTML; its pictures need their SVG."""
    script = (TEMPLATE / "page.js").read_text(encoding="utf-8")
    tables = [part.table for part in document.parts if part.table]
    names = [row[0] for table in tables if table.contenders for row in table.rows]
    described = [_describe_part(part, names) for part in document.parts]
    head = next((part for part in described if part["statements"]), None)
    parts = [
        _separate_numbers(part) if part is head else part for part in described if part["table"] or part is not head
    ]
    linked = {contender for table in tables for contender in table.contenders}
    shown_cells = _inline_shown(document.shown)
    commands = [
        {**row._asdict(), "seeds": spell_seeds(row.seeds), "in_table": row.contender in linked}
        for row in document.commands
    ]
    failed = [{**failure._asdict(), "seeds": spell_seeds(failure.seeds)} for failure in document.failed]
    lists = _collect_lists(document)
    contents = [(part["id"], part["title"]) for part in (*([head] if head else []), *parts)]
    contents += [("shown", "What the networks see")] if shown_cells else []
    contents += [("again", "Run it again")] if commands else []
    contents += [("failed", "Failed cells")] if failed else []
    contents += [(id_, title) for id_, title, _ in lists]
    return (
        _make_environment()
        .get_template("page.html")
        .render(
            title=document.title,
            css=Markup((TEMPLATE / "page.css").read_text(encoding="utf-8") + _style_series()),
            script=Markup(script),
            script_hash="sha256-" + base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode(),
            question=document.question,
            top=[f"{term} {'; '.join(lines)}" for name in TOP for term, lines in document.facts if term == name],
            facts=document.facts,
            cautions=document.cautions,
            contents=[*contents, ("origin", "Where the numbers are from")],
            head=head,
            parts=parts,
            shown=shown_cells,
            commands=commands,
            failed=failed,
            lists=lists,
        )
    )


def _inline_shown(cells: Iterable[ShownCell]) -> list[dict[str, Any]]:
    """Returns the pictures of `capsbench show` by cell, as many as the page has room for."""
    inlined, used = [], 0
    for cell in cells:
        pictures: list[dict[str, Any]] = []
        for drawing in cell.drawings:
            picture = _inline_drawing(drawing, f"{cell.cell}-{len(pictures)}")
            if used + len(picture["svg"]) <= ROOM_FOR_SHOWN:
                used += len(picture["svg"])
                pictures.append(picture)
        left = len(cell.drawings) - len(pictures)
        elsewhere = f"{left} more in {cell.drawings[0].path.parent}." if left else ""
        inlined.append({"cell": cell.cell, "title": cell.title, "pictures": pictures, "elsewhere": elsewhere})
    return inlined


@cache
def _make_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["quantity"] = _typeset_number
    environment.filters["prose"] = _typeset_prose
    environment.filters["flags"] = _keep_flags_whole
    environment.filters["heading"] = _typeset_heading
    return environment


def _style_series() -> str:
    """Returns the colours of series; they are lighter on a dark page, where names beside points have them."""
    colors = (
        f"--series-{number}: light-dark({c}, color-mix(in oklab, {c} 60%, white));" for number, c in enumerate(PALETTE)
    )
    return f":root {{ {' '.join(colors)} }}"


def _collect_lists(document: Document) -> list[tuple[str, str, list[str]]]:
    """Returns the sections that are lists: id, title and lines."""
    sections = {
        ("unfinished", "Not finished"): document.still_to_run,
        ("left-out", "Left out"): [f"{name}: {reason}" for name, reason in document.left_out.items()],
        ("faults", "Files that cannot be read"): document.faults,
        ("notes", "Notes"): document.notes,
    }
    return [(id_, title, lines) for (id_, title), lines in sections.items() if lines]


def _describe_part(part: Part, names: Sequence[str]) -> dict[str, Any]:
    return {
        "id": part.name,
        "title": part.title,
        "table": _describe_table(part.table, names) if part.table else None,
        "statements": part.statements,
        "pictures": [_inline_image(name, image) for name, image in part.pictures.items()],
    }


def _separate_numbers(part: dict[str, Any]) -> dict[str, Any]:
    """Returns a part without what the head of the page has of it: statements, with the pictures beside them."""
    return {**part, "id": f"{part['id']}-numbers", "title": f"{part['title']} in numbers", "pictures": []}


def _describe_table(table: Table, names: Sequence[str]) -> dict[str, Any]:
    longest = [max((len(row[place]) for row in table.rows), default=0) for place in range(len(table.headings))]
    prose = [length > PROSE and not number for length, number in zip(longest, table.numbers, strict=True)]
    headings = [
        {"text": text, "number": number, "prose": is_prose, "words": length > WORDS and not number and not is_prose}
        for text, number, length, is_prose in zip(table.headings, table.numbers, longest, prose, strict=True)
    ]
    contenders = table.contenders or [""] * len(table.rows)
    rows = [
        {
            "first": row[0],
            "rest": [
                (
                    _keep_names_whole(_typeset_prose(text), names) if heading["prose"] or heading["words"] else text,
                    heading,
                    _to_sort_value(text) if heading["number"] else None,
                )
                for text, heading in zip(row[1:], headings[1:], strict=True)
            ],
            "contender": contender,
        }
        for row, contender in zip(table.rows, contenders, strict=True)
    ]
    count = 0
    numbered = []
    for row in rows:
        count += row["first"] != "" or not table.grouped
        numbered.append((count if table.grouped else 0, row))
    return {
        "id": table.name,
        "title": table.title,
        "headings": headings,
        "contenders": bool(table.contenders),
        "groups": [[row for _, row in group] for _, group in groupby(numbered, key=itemgetter(0))],
        "grouped": table.grouped,
        "sortable": not table.grouped and len(rows) > 1,
        "filter": not table.grouped and len(rows) > (1 if table.contenders else MANY),
        "long": len(rows) > LONG,
        "cards": any(prose[1:]),
        "caption": _mark_code(table.whole_caption),
        "marks": [_mark_code(f"{mark}.") for mark in table.marks],
    }


def _typeset_heading(text: str) -> Markup:
    """Returns a heading that stays with its unit, and in which a line may break between the words of an option's name."""
    words = re.split(r"(?<=[._])(?=[^\W\d])", text.replace(" %", "\N{NO-BREAK SPACE}%"))
    return Markup("<wbr>").join(words)


def _typeset_prose(text: str) -> str:
    """Returns sentences with a true minus, in which a line breaks anywhere but between a number and its unit."""
    text = text.replace(TIED, " ")
    text = re.sub(r"(?<![\w.-])-(?=\d)", "\N{MINUS SIGN}", text)
    return re.sub(
        rf"(?<=p) (?=<)|(?<=<) (?=\d)|(?<=[\d\]]) (?=(?:%|points?\b|seeds?\b|± ?\d))|(?<=\w) (?={TIMES}\d)", TIED, text
    )


def _keep_names_whole(text: str, names: Sequence[str]) -> Markup:
    """Returns a cell's text in which no line breaks within the name of a contender."""
    breakable = {name for name in names if " " in name and len(name) <= PROSE / 2}
    longest_first = sorted(breakable, key=len, reverse=True)
    if not longest_first:
        return escape(text)
    parts = re.split(rf"(?<!\w)({'|'.join(map(re.escape, longest_first))})(?!\w)", text)
    whole = Markup('<span class="name">{}</span>').format
    return Markup("").join(whole(part) if place % 2 else part for place, part in enumerate(parts))


def _to_sort_value(text: str) -> str:
    """Returns the number by which a cell of a column of numbers is sorted; empty for a cell without one."""
    quantity = parse_quantity(text)
    return repr(quantity.value) if quantity else "Infinity" if text == ALL else ""


def _typeset_number(text: str) -> Markup:
    """Returns a number as it is printed: a true minus, its interval paler, its sign with a hint at the legend."""
    number, spread, marks = split_interval(text)
    printed = escape(number.replace("-", "\N{MINUS SIGN}") if not number.startswith("1e") else number)
    if spread:
        printed += Markup('<span class="spread">{}</span>{}').format(spread.replace("-", "\N{MINUS SIGN}"), marks)
    signs = re.compile(r"((?: ?[*†§])+)$")
    return Markup(signs.sub(_explain_sign, str(printed)))


def _keep_flags_whole(command: str) -> Markup:
    """Returns a command in which no line breaks within a flag."""
    return Markup(re.sub(r"(?<!\S)--[\w-]+", r'<span class="name">\g<0></span>', str(escape(command))))


def _explain_sign(match: re.Match[str]) -> str:
    """Returns signs behind a number together, as they stand in the margin."""
    return f'<abbr title="explained below the table">{match[1].replace(" ", "")}</abbr>'


def _mark_code(text: str) -> Markup:
    """Returns prose with what is between backquotes as code."""
    return Markup(re.sub(r"`([^`]+)`", _mark_words, str(escape(_typeset_prose(text)))))


def _mark_words(match: re.Match[str]) -> str:
    return f'<code class="name">{match[1]}</code>' if len(match[1]) <= PROSE else f"<code>{match[1]}</code>"


def _inline_image(name: str, image: Image) -> dict[str, Any]:
    svg = inline_svg(image.files["svg"].decode(), name, image.title, image.caption)
    return {"title": image.title, "caption": _mark_code(image.caption), "svg": svg, "width": round(image.width * 96)}


def _inline_drawing(drawing: Drawing, name: str) -> dict[str, Any]:
    svg = inline_svg(drawing.drawn.svg, f"shown-{name}", drawing.title, drawing.caption)
    width = round(drawing.drawn.width * PIXELS)
    return {"title": drawing.title, "caption": _mark_code(drawing.caption), "svg": svg, "width": width}


def inline_svg(text: str, name: str, title: str, caption: str) -> Markup:
    """Returns a picture of matplotlib as a part of a page, whose colours replace its neutral ones.

    Args:
        text: the SVG file.
        name: the picture's name, with which its ids begin, so that they are its own.
        title, caption: the words for readers who do not see it.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    for colour, variable in COLOURS.items():
        text = re.sub(rf"{colour}\b", f"var(--{variable})", text, flags=re.IGNORECASE)
    size = re.search(r'viewBox="[^"]+"', text[: text.index(">")])
    box = size[0] if size else ""
    inside = text[text.index(">") + 1 :]
    start = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {box} role="img" '
        'aria-labelledby="{id}-title {id}-told"><title id="{id}-title">{title}</title><desc id="{id}-told">{caption}</desc>'
    )
    described = start.format(box=Markup(box), id=f"picture-{name}", title=title, caption=caption)
    return described + Markup(re.sub(r"\n\s*", "\n", inside))
