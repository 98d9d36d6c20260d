"""Writes the display of an object as a piece of HTML: everything is escaped, and pictures are images, which run no code."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from capsbench.presenting.notebook.output import Grid, Output, Shot
from capsbench.presenting.terminal import to_plain

FORMS = {"svg": "image/svg+xml", "png": "image/png"}

ROOM_FOR_SHOTS = 250_000
"""Bytes of the pictures of one output: it is kept in the notebook each time that its cell runs."""

MOST_SHOTS = 2

MOST_ROWS = 12
"""Rows of a table."""

MOST_LINES = 12
"""Lines of a list."""


def render_output(output: Output) -> str:
    """Returns an output as HTML."""
    shown, named = _choose_shots(output.shots)
    page = (
        _make_environment()
        .get_template("output.html")
        .render(
            lead=output.lead,
            cautions=_shorten(output.cautions),
            items=_shorten(output.items),
            tables=[_describe_grid(grid) for grid in output.tables],
            shots=[_describe_shot(shot) for shot in shown],
            notes=[*_shorten(output.notes), *([f"More pictures: {', '.join(named)}."] if named else [])],
        )
    )
    return to_plain(page)


def _choose_shots(shots: Iterable[Shot]) -> tuple[list[Shot], list[str]]:
    """Returns the first pictures for which there is room, and the names of the others."""
    shown: list[Shot] = []
    named: list[str] = []
    for shot in shots:
        used = sum(len(other.content) for other in shown)
        if len(shown) < MOST_SHOTS and used + len(shot.content) <= ROOM_FOR_SHOTS:
            shown.append(shot)
        else:
            named.append(shot.name)
    return shown, named


def _shorten(lines: Iterable[str]) -> list[str]:
    lines = [*lines]
    more = len(lines) - MOST_LINES
    return lines if more <= 0 else [*lines[:MOST_LINES], f"and {more} more"]


def _describe_grid(grid: Grid) -> dict[str, Any]:
    numbers = [number for number, _ in zip_longest(grid.numbers, grid.headings, fillvalue=False)]
    rows = [[*zip(row, numbers, strict=True)] for row in grid.rows[:MOST_ROWS]]
    more = max(0, len(grid.rows) - MOST_ROWS)
    return {"title": grid.title, "headings": [*zip(grid.headings, numbers, strict=True)], "rows": rows, "more": more}


def _describe_shot(shot: Shot) -> dict[str, Any]:
    # An image that is loaded from an address runs no script of its own, unlike SVG that is a part of the page.
    content = base64.b64encode(shot.content).decode()
    return {"title": shot.title, "address": f"data:{FORMS[shot.form]};base64,{content}", "width": shot.width}


@cache
def _make_environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
