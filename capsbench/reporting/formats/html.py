"""A report as one HTML file that needs nothing beside it: style, script and pictures are inside, and nothing is loaded."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from capsbench.presenting.figures.figure import Image
from capsbench.presenting.figures.style import NEUTRALS, PALETTE
from capsbench.presenting.format import parse_quantity, spell_seeds, split_interval
from capsbench.reporting.document import ALL, Document, Drawing, Part, Table

TEMPLATE = Path(__file__).parent / "templates"

COLOURS = NEUTRALS | {colour: f"series-{number}" for number, colour in enumerate(PALETTE)}
"""Colour of a picture -> the variable of the page that takes its place, which has another value on a dark page."""

LONG = 24
"""Rows beyond which a table has a box of its own to scroll in."""

MANY = 8
"""Rows beyond which a table beside the headline table has a filter."""

PROSE = 36
"""Letters beyond which a column of text is broken into lines."""

ROOM_FOR_SHOWN = 1_500_000
"""Bytes of what `capsbench show` drew that a page takes in; beyond, it says where the rest is."""

PIXELS = 96 / 72
"""Pixels of CSS a typographic point."""

TOP = ("command", "cells", "measured", "machine")
"""The facts that stand above everything."""


def render_page(document: Document) -> str:
    """The report as HTML; its pictures have to be there as SVG."""
    script = (TEMPLATE / "page.js").read_text(encoding="utf-8")
    parts = [_describe_part(part) for part in document.parts]
    shown, used = [], 0
    for each in document.shown:
        pictures: list[dict[str, Any]] = []
        for drawing in each.drawings:
            found = _inline_drawing(drawing, f"{each.cell}-{len(pictures)}")
            if used + len(found["svg"]) <= ROOM_FOR_SHOWN:
                used += len(found["svg"])
                pictures.append(found)
        left = len(each.drawings) - len(pictures)
        elsewhere = f"{left} more in {each.drawings[0].path.parent}." if left else ""
        shown.append({"cell": each.cell, "title": each.title, "pictures": pictures, "elsewhere": elsewhere})
    commands = [
        {
            **made._asdict(),
            "seeds": spell_seeds(made.seeds),
            "in_table": any(made.contender in p["contenders"] for p in parts),
        }
        for made in document.commands
    ]
    failed = [{**each._asdict(), "seeds": spell_seeds(each.seeds)} for each in document.failed]
    lists = _collect_lists(document)
    contents = [(part["id"], part["title"]) for part in parts]
    contents += [("shown", "What the networks see")] if shown else []
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
            top=[(term, lines) for name in TOP for term, lines in document.facts if term == name],
            facts=document.facts,
            cautions=document.cautions,
            contents=[*contents, ("origin", "Where the numbers are from")],
            parts=parts,
            shown=shown,
            commands=commands,
            failed=failed,
            lists=lists,
        )
    )


@cache
def _make_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["quantity"] = _typeset_number
    return environment


def _style_series() -> str:
    """The colours of series, on a dark page lighter: names beside points are in them."""
    each = (
        f"--series-{number}: light-dark({c}, color-mix(in oklab, {c} 60%, white));" for number, c in enumerate(PALETTE)
    )
    return f":root {{ {' '.join(each)} }}"


def _collect_lists(document: Document) -> list[tuple[str, str, list[str]]]:
    """The sections that are lists: where they are linked to, their titles and their lines."""
    lines = {
        ("unfinished", "Not finished"): document.still_to_run,
        ("left-out", "Left out"): [f"{name}: {reason}" for name, reason in document.left_out.items()],
        ("faults", "Files that cannot be read"): document.faults,
        ("notes", "Notes"): document.notes,
    }
    return [(id_, title, own) for (id_, title), own in lines.items() if own]


def _describe_part(part: Part) -> dict[str, Any]:
    return {
        "id": part.name,
        "title": part.title,
        "table": _describe_table(part.table) if part.table else None,
        "contenders": set(part.table.contenders) if part.table else set(),
        "pictures": [_inline_image(name, image) for name, image in part.pictures.items()],
    }


def _describe_table(table: Table) -> dict[str, Any]:
    prose = [max((len(row[place]) for row in table.rows), default=0) > PROSE for place in range(len(table.headings))]
    headings = [
        {"text": text, "number": number, "prose": long and not number}
        for text, number, long in zip(table.headings, table.numbers, prose, strict=True)
    ]
    contenders = table.contenders or [""] * len(table.rows)
    rows = [
        {
            "first": row[0],
            "rest": [
                (text, heading, _to_sort_value(text) if heading["number"] else None)
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
        "groups": [[row for _, row in own] for _, own in groupby(numbered, key=lambda each: each[0])],
        "grouped": table.grouped,
        "sortable": not table.grouped and len(rows) > 1,
        "filter": not table.grouped and len(rows) > (1 if table.contenders else MANY),
        "long": len(rows) > LONG,
        "caption": _mark_code(table.caption),
        "marks": [_mark_code(mark) for mark in table.marks],
    }


def _to_sort_value(text: str) -> str:
    """What a string of a column of numbers is sorted by; empty where there is no number."""
    found = parse_quantity(text)
    return repr(found.value) if found else "Infinity" if text == ALL else ""


def _typeset_number(text: str) -> Markup:
    """A number as it is printed: a true minus, its interval paler, its mark with what it means at hand."""
    number, spread, marks = split_interval(text)
    shown = escape(number.replace("-", "\N{MINUS SIGN}") if not number.startswith("1e") else number)
    if spread:
        shown += Markup('<span class="spread">{}</span>{}').format(spread.replace("-", "\N{MINUS SIGN}"), marks)
    return Markup(re.sub(r" ?([*†])", r'<abbr title="explained below the table">\1</abbr>', str(shown)))


def _mark_code(text: str) -> Markup:
    """Prose with what is between backquotes as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _inline_image(name: str, image: Image) -> dict[str, Any]:
    made = inline_svg(image.files["svg"].decode(), name, image.title, image.caption)
    return {"title": image.title, "caption": _mark_code(image.caption), "svg": made, "width": round(image.width * 96)}


def _inline_drawing(drawing: Drawing, name: str) -> dict[str, Any]:
    """A picture of `capsbench show`."""
    made = inline_svg(drawing.drawn.svg, f"shown-{name}", drawing.title, drawing.caption)
    width = round(drawing.drawn.width * PIXELS)
    return {"title": drawing.title, "caption": _mark_code(drawing.caption), "svg": made, "width": width}


def inline_svg(text: str, name: str, title: str, caption: str) -> Markup:
    """A picture of matplotlib as a part of a page: its neutral colours follow the page's, its names are its own.

    Args:
        text: the SVG file.
        name: of the picture, which its names begin with.
        title, caption: what is told to those who do not see it.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
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
    told = start.format(box=Markup(box), id=f"picture-{name}", title=title, caption=caption)
    return told + Markup(re.sub(r"\n\s*", "\n", inside))
