"""Pictures from folders that may be anyone's: what draws is taken in, anything else is refused by the name of the file."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from capsbench.errors import Kind, UsageError
from capsbench.presenting.figures.files import render_svg
from capsbench.reporting.formats.html import inline_svg
from capsbench.reporting.svg import ELEMENTS, HREF, STYLES, SVG, XLINK, read_picture

ROOT = f'<svg xmlns="{SVG.strip("{}")}" xmlns:xlink="{XLINK.strip("{}")}"'


def drawing() -> bytes:
    """A picture with all that those of `capsbench show` have: lines, marks, areas, words, pixels and what is cut off."""
    figure = Figure(figsize=(3, 2))
    axes = figure.add_subplot()
    axes.plot([0, 1, 2], [1, 3, 2], "o--", label="a < b & c", alpha=0.5)
    axes.fill_between([0, 1, 2], [0, 1, 1], [1, 4, 3], alpha=0.2)
    axes.scatter([0, 1], [1, 2])
    axes.imshow(np.eye(4), extent=(0, 1, 0, 1), interpolation="nearest")
    axes.set_title('words, "quoted"', fontweight="bold", rotation=3)
    axes.legend()
    return render_svg(figure)


def parts(text: str) -> list[tuple[str, dict[str, str], str]]:
    """The elements of a picture as a page has it: name, attributes and words."""
    return [(each.tag, each.attrib, (each.text or "").strip()) for each in ElementTree.fromstring(text).iter()]


def read(folder: Path, content: str | bytes) -> str:
    path = folder / "a.svg"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_picture(path).svg


def test_a_picture_of_our_own_is_on_the_page_as_it_was_drawn(tmp_path: Path) -> None:
    made = drawing()
    assert parts(inline_svg(read(tmp_path, made), "one", "a", "b")) == parts(inline_svg(made.decode(), "one", "a", "b"))


def test_the_width_is_that_of_the_picture(tmp_path: Path) -> None:
    read(tmp_path, drawing())
    assert read_picture(tmp_path / "a.svg").width == pytest.approx(3 * 72)


HOSTILE = {
    "meta": '><meta http-equiv="refresh" content="0;url=https://example.org"/>',
    "upper case": "><SCRIPT>alert(1)</SCRIPT>",
    "script": "><script>alert(1)</script>",
    "html": '><g><p xmlns="http://www.w3.org/1999/xhtml">words</p></g>',
    "form": '><form action="https://example.org"><input name="a"/></form>',
    "foreign object": "><foreignObject/>",
    "animation": '><path d="M 0 0"><set attributeName="href" to="javascript:alert(1)"/></path>',
    "link": '><a xlink:href="https://example.org"><text>a</text></a>',
    "picture in a picture": "><svg/>",
    "outside": '><image xlink:href="https://example.org/a.png"/>',
    "another picture inside": '><image xlink:href="data:image/svg+xml;base64,AAAA"/>',
    "use of another file": '><use xlink:href="other.svg#a"/>',
    "uses within uses": '><g id="a"><path id="b" d=""/></g><use xlink:href="#a"/>',
    "a name that two have": '><path id="a" d=""/><g id="a"/><use xlink:href="#a"/>',
    "plain href": '><image href="https://example.org/a.png"/>',
    "handler": ' onload="alert(1)">',
    "handler in upper case": ' ONCLICK="alert(1)">',
    "size": ' width="1e999">',
    "class": '><g class="hidden"/>',
    "style that loads": '><path style="fill: url(https://example.org)"/>',
    "style that covers": '><path style="position: fixed"/>',
    "escaped style": '><path style="fill: u\\72l(a)"/>',
    "clip that loads": '><path clip-path="url(https://example.org#a)"/>',
    "size that refers": '><rect x="url(a)"/>',
    "transform that refers": '><g transform="url(a)"/>',
    "deep": ">" + "<g>" * 5000 + "</g>" * 5000,
}


@pytest.mark.parametrize("inside", HOSTILE.values(), ids=HOSTILE)
def test_what_does_more_than_draw_is_refused(tmp_path: Path, inside: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, f"{ROOT}{inside}</svg>")
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, tmp_path / "a.svg")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not a picture",
        b"\xff\xfe<",
        "<html/>",
        '<!DOCTYPE svg [<!ENTITY a "b">]>' + ROOT + "><text>&a;</text></svg>",
        f"{ROOT}><text>&nosuch;</text></svg>",
        f"{ROOT}>",
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, content: str | bytes) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, content)
    assert caught.value.kind is Kind.DAMAGED


def test_a_pipe_a_device_and_a_file_without_end_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.svg")
    (tmp_path / "device.svg").symlink_to("/dev/zero")
    with (tmp_path / "large.svg").open("wb") as file:
        file.truncate(2**33)
    for name in ("pipe", "device", "large", "nosuch"):
        with pytest.raises(UsageError) as caught:
            read_picture(tmp_path / f"{name}.svg")
        assert caught.value.kind is Kind.INACCESSIBLE


TAGS = st.sampled_from([*ELEMENTS, "script", "SCRIPT", "a", "meta", "iframe", "style", "metadata", "CLIPPATH"])
VALUES = st.sampled_from(["url(#a)", "url(x)", "#a", "javascript:alert(1)", "1", "fill: red", "fill:url(x)", "\u202e"])
NAMES = st.sampled_from(["id", "style", "d", "onclick", "ONCLICK", "xlink:href", "href", "clip-path", "class", "x"])


def written(tag: str, attributes: dict[str, str], inside: list[str]) -> str:
    own = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f"<{tag}{own}>{''.join(inside)}</{tag}>"


ELEMENT = st.recursive(
    st.text("<>&\"'a", max_size=5).map(escape),
    lambda inside: st.builds(written, TAGS, st.dictionaries(NAMES, VALUES, max_size=2), st.lists(inside, max_size=2)),
    max_leaves=8,
)


@given(inside=ELEMENT)
def test_whatever_is_taken_in_is_on_the_lists(tmp_path_factory: pytest.TempPathFactory, inside: str) -> None:
    try:
        made = read(tmp_path_factory.getbasetemp(), f"{ROOT}>{inside}</svg>")
    except UsageError:
        return
    for element in ElementTree.fromstring(made).iter():
        name = element.tag.removeprefix(SVG)
        assert name in ELEMENTS
        for attribute, value in element.attrib.items():
            assert attribute in ELEMENTS[name] or attribute == "style" or (attribute == f"{XLINK}href" and name in HREF)
            assert "javascript" not in value
            assert "url(x" not in value
        properties = {each.partition(":")[0].strip() for each in element.get("style", "").split(";")} - {""}
        assert properties <= {*STYLES}
