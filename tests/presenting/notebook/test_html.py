"""The display of an object as HTML."""

from __future__ import annotations

import re

from capsbench.presenting.notebook import Displayed, Grid, Output, Shot
from capsbench.presenting.notebook.html import MOST_LINES, MOST_ROWS, MOST_SHOTS, ROOM_FOR_SHOTS, render_output
from capsbench.presenting.notebook.output import MOST_LETTERS
from capsbench.presenting.terminal import SIGN

HOSTILE = "<script>alert('x')</script>\x1b\u202e"


def make_shot(name: str, size: int = 10) -> Shot:
    return Shot(name, f"title of {name}", "svg", b"x" * size, 100)


def test_the_sentence_is_first() -> None:
    page = render_output(Output("em won", cautions=["1 failed"], items=["by much"], tables=[Grid(["a"], [["1"]])]))
    texts = [text for text in re.findall(r">([^<>{}]+)<", page.partition("</style>")[2]) if text.strip()]
    assert texts == ["em won", "1 failed.", "by much", "a", "1"]


def test_everything_is_escaped_and_plain() -> None:
    grid = Grid([HOSTILE], [[HOSTILE]], [True], HOSTILE)
    shot = Shot(HOSTILE, HOSTILE, "svg", HOSTILE.encode(), 10)
    page = render_output(Output(HOSTILE, [HOSTILE], [HOSTILE], [grid], [shot] * 3, [HOSTILE]))
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert page.count(f"&lt;/script&gt;{SIGN}{SIGN}") == 12  # each of the texts above, the title of a picture twice


def test_pictures_are_images_and_the_others_are_named() -> None:
    page = render_output(Output("", shots=[make_shot(str(number)) for number in range(5)]))
    assert page.count("<img") == MOST_SHOTS
    assert "2, 3, 4" in page


def test_pictures_take_a_bounded_room() -> None:
    large, small = make_shot("large", ROOM_FOR_SHOTS + 1), make_shot("small")
    page = render_output(Output("", shots=[large, small]))
    assert len(page) < ROOM_FOR_SHOTS
    assert 'alt="title of small"' in page
    assert "large" in page.rpartition("<p")[2]


def test_long_tables_and_lists_are_cut() -> None:
    rows = [[f"row {number}"] for number in range(MOST_ROWS + 5)]
    lines = [f"line {number}" for number in range(MOST_LINES + 7)]
    page = render_output(Output("", items=lines, tables=[Grid(["a"], rows)]))
    assert page.count("<tr>") == 1 + MOST_ROWS
    assert "and 5 more rows" in page
    assert page.count("<li>") == MOST_LINES + 1
    assert "and 7 more<" in page


def test_a_repr_is_one_short_line() -> None:
    class Long(Displayed):
        def describe_output(self) -> Output:
            return Output("a\nb \x1b" + "x" * 1000)

    assert repr(Long()).startswith(f"<Long: a b {SIGN}x")
    assert len(repr(Long())) < MOST_LETTERS + 20
