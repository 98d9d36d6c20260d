"""Pictures and their lists in `shown/`, made to do more than to draw: nothing of them is in the page but drawings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from capsbench.presenting.figures.files import render_svg
from capsbench.records.store import Store
from capsbench.reporting.svg import ELEMENTS, SVG, XLINK
from tests.faults.calling import LENGTHS, call, searched
from tests.faults.hostile import TEXTS, acts, beyond
from tests.faults.test_odd_records import record

EXAMPLES, IN_A_REPORT = 4, 5

TAGS = [
    *(
        *ELEMENTS,
        "SVG",
        "G",
        "metadata",
        "style",
        "title",
        "desc",
        "switch",
        "symbol",
        "marker",
        "pattern",
        "mask",
        "filter",
    ),
    *(
        "script",
        "SCRIPT",
        "sCrIpT",
        "foreignObject",
        "foreignobject",
        "iframe",
        "embed",
        "object",
        "a",
        "A",
        "form",
        "input",
    ),
    *(
        "meta",
        "link",
        "base",
        "img",
        "video",
        "body",
        "html",
        "template",
        "math",
        "animate",
        "set",
        "handler",
        "feImage",
    ),
    *("x:script", "svg:script", "x:g", "xlink:a", "g\u0131", "\u212apath"),
]
NAMES = [
    *(
        "id",
        "style",
        "d",
        "x",
        "width",
        "viewBox",
        "transform",
        "clip-path",
        "version",
        "class",
        "fill",
        "mask",
        "filter",
    ),
    *("onload", "ONLOAD", "onclick", "OnError", "onbegin", "x:onload", "href", "HREF", "xlink:href", "x:href", "src"),
    *(
        "xlink:show",
        "xml:base",
        "xml:space",
        "xmlns",
        "xmlns:svg",
        "requiredExtensions",
        "formaction",
        "http-equiv",
        "content",
    ),
]
VALUES = [
    *("#a", "#b", "", "1", "0 0 9 9", "M 0 0 L 1 1 z", "fill: #ff0000", "translate(1 2)", "url(#a)", "b", "preserve"),
    *("javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "https://example.org", "//example.org/a.svg#a"),
    *("data:text/html,<script>alert(1)</script>", "data:image/svg+xml;base64,AAAA", "data:image/png;base64,AAAA", "file:///etc/passwd"),
    *("url(https://example.org)", "url(javascript:1)", "URL(x)", "u\\72l(x)", "fill:url(#a)", "fill: expression(1)"),
    *("background: url(x)", "position: fixed", "fill: red; behavior: url(x)", "@import 'x'", "font: 1px 'x'; }</style><script>"),
    *("fill: var(--x)", "width: 100vw", "fill: image-set('x' 1x)", "fill: red /* */", "1e999", "9" * 400, "2em", "100%"),
    *("http://www.w3.org/1999/xhtml", SVG.strip("{}"), XLINK.strip("{}"), *TEXTS),
]  # fmt: skip
WHOLE = [
    '<?xml version="1.0"?>{}',
    '<?xml-stylesheet href="https://example.org/a.css"?>{}',
    '<!DOCTYPE svg SYSTEM "https://example.org/a.dtd">{}',
    '<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>{}',
    '<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>{}',
    "<!-- -->{}<!-- <script> -->",
    "{}<svg/>",
    "\ufeff{}",
]
ROOTS = [
    f'<svg xmlns="{SVG.strip("{}")}" xmlns:xlink="{XLINK.strip("{}")}" xmlns:x="http://www.w3.org/1999/xhtml"',
    f'<svg:svg xmlns:svg="{SVG.strip("{}")}" xmlns="http://www.w3.org/1999/xhtml" xmlns:xlink="a" xmlns:x="{SVG.strip("{}")}"',
    "<svg",
]


def written(tag: str, attributes: dict[str, str], inside: list[str]) -> str:
    own = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    return f"<{tag}{own}>{''.join(inside)}</{tag}>"


ATTRIBUTES = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=2)
WORDS = st.one_of(
    st.sampled_from(TEXTS).map(lambda text: escape(text)),
    st.sampled_from(
        ["<![CDATA[<script>alert(1)</script>]]>", "&a;", "&b;", "&#60;script&#62;", "<?php x ?>", "<!-- a -->"]
    ),
)
GOOD = st.sampled_from(['<path id="a" d="M 0 0"/>', '<g id="b"><text>words</text></g>', '<use xlink:href="#a"/>', ""])
PARTS = st.recursive(
    WORDS | GOOD,
    lambda inside: st.builds(written, st.sampled_from(TAGS), ATTRIBUTES, st.lists(inside, max_size=2)),
    max_leaves=4,
)


def drawing() -> str:
    figure = Figure(figsize=(3, 2))
    axes = figure.add_subplot()
    axes.plot([0, 1, 2], [1, 3, 2], "o--")
    axes.imshow(np.eye(4), extent=(0, 1, 0, 1))
    return render_svg(figure).decode()


@st.composite
def pictures(draw: st.DrawFn, own: str) -> str:
    """A picture made by hand, or one of ours with something put into it."""
    if draw(st.booleans()):
        parts = draw(st.lists(PARTS, min_size=1, max_size=3))
        root = draw(st.sampled_from([*ROOTS[:1] * 6, *ROOTS]))
        attributes = "".join(f' {name}="{escape(value)}"' for name, value in draw(ATTRIBUTES).items())
        return draw(st.sampled_from(["{}"] * 8 + WHOLE)).replace(
            "{}", f"{root}{attributes}>{''.join(parts)}</{root[1:].split()[0]}>"
        )
    places = [at for at, letter in enumerate(own) if letter in "<>\"' "]
    at = draw(st.sampled_from(places)) + draw(st.integers(0, 1))
    name, value = draw(st.sampled_from(NAMES)), draw(st.sampled_from(VALUES))
    put = draw(PARTS | st.just(f' {name}="{escape(value)}" ') | st.sampled_from(TEXTS))
    return own[:at] + put + own[at:]


LISTED = st.fixed_dictionaries({"title": st.sampled_from(TEXTS), "caption": st.sampled_from(TEXTS)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("capsbench.reporting.build.drawing", lambda *arguments: nullcontext(dict))
        Store(folder / "results").write(record(0))
        yield folder


@pytest.fixture(scope="module")
def own() -> str:
    return drawing()


@LENGTHS
def test_whatever_is_in_a_picture_the_page_has_drawings_alone(folder: Path, own: str, length: float) -> None:
    shown = folder / "results" / "shown" / record(0).cell.id
    shown.mkdir(parents=True, exist_ok=True)
    some: dict[str, Any] = dict(min_size=IN_A_REPORT, max_size=IN_A_REPORT)

    @searched(length * EXAMPLES)
    @given(drawn=st.lists(pictures(own), **some), listed=st.lists(LISTED, **some))
    def search(drawn: list[str], listed: list[dict[str, str]]) -> None:
        for place, text in enumerate(drawn):
            (shown / f"p{place}.svg").write_bytes(text.encode(errors="surrogatepass"))
        names = [{"name": f"p{place}", **line} for place, line in enumerate(listed)]
        (shown / "shown.json").write_text(json.dumps(names))
        called = call("report", "--out", "results", "--format", "html,md")
        assert called.code == 0
        assert "Traceback" not in called.err
        assert acts(called.out + called.err) == []
        assert beyond((folder / "results" / "report" / "index.html").read_text()) == []

    search()
