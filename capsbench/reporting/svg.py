"""Pictures from a results folder as parts of a page, without anything that does not draw.

A folder may come from anywhere. So a picture is parsed as XML, compared with lists of what matplotlib writes, and written anew
from the parsed elements: a browser reads what was checked. Anything that is on no list is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from capsbench.errors import Kind, UsageError
from capsbench.records.disk import read_file

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"

LARGEST = 5_000_000
"""Bytes of a picture, ten times those of the largest of `capsbench show`."""

DEEPEST = 32
"""Levels of nested elements; matplotlib's pictures have six."""

_NUMBERS = re.compile(r"[\w\s.,+-]*")
_TRANSFORM = re.compile(r"\s*(?:(?:matrix|translate|scale|rotate|skewX|skewY)\s*\([\d\s.,eE+-]*\)[\s,]*)*")
_NAME = re.compile(r"[\w.-]+")
_LENGTH = re.compile(r"(\d{1,5}(?:\.\d*)?)(?:pt|px)?")
_CLIP = re.compile(r"url\(#[\w.-]+\)")
_PIXELS = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=\s]+")
_STYLE_VALUE = re.compile(r"[\w\s#.,%'-]*")  # no parentheses, so no url()

PLACED = {"id": _NAME, "transform": _TRANSFORM, "clip-path": _CLIP}
SIZED = {"x": _NUMBERS, "y": _NUMBERS, "width": _NUMBERS, "height": _NUMBERS}

ELEMENTS: dict[str, dict[str, re.Pattern[str]]] = {
    "svg": {"width": _LENGTH, "height": _LENGTH, "viewBox": _NUMBERS, "version": _NUMBERS},
    "defs": {},
    "g": PLACED,
    "path": {**PLACED, "d": _NUMBERS},
    "rect": {**PLACED, **SIZED},
    "clipPath": {"id": _NAME},
    "use": {**PLACED, **SIZED},
    "image": {**PLACED, **SIZED},
    "text": {**PLACED, **SIZED},
    "tspan": {**PLACED, **SIZED},
}
"""Element -> its attributes, but for ``style`` and ``xlink:href``, and the patterns of their values."""

HREF = {"use": re.compile(r"#[\w.-]+"), "image": _PIXELS}
"""Element -> the pattern of its reference: a part of the same picture, or pixels."""

STYLES = (
    *("fill", "fill-opacity", "fill-rule", "opacity", "text-anchor", "image-rendering"),
    *("stroke", "stroke-width", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "stroke-opacity"),
    *("stroke-dasharray", "stroke-dashoffset"),
    *("font", "font-size", "font-family", "font-weight", "font-style", "font-stretch", "font-variant"),
)
"""The properties that a style may set."""

LEFT_OUT = ("metadata", "style")
"""Elements of matplotlib's that are not written."""


class CheckedSvg(NamedTuple):
    """The text of a checked picture, and its width in points."""

    svg: str
    width: float


class _RefusedError(ValueError):
    """A picture has something that is no part of a drawing."""


def read_picture(path: Path) -> CheckedSvg:
    """Returns a picture for a page.

    Raises:
        UsageError: the file cannot be read, or has more than a drawing.
    """
    try:
        text = read_file(path, LARGEST).decode()
        if "<!ENTITY" in text:  # a few lines of these grow to gigabytes
            raise _RefusedError("it declares entities")
        root = ElementTree.fromstring(text)
        if root.tag != f"{SVG}svg":
            raise _RefusedError("it is no SVG")
        width = _LENGTH.fullmatch(root.get("width", "500"))
        return CheckedSvg("".join(_write_element(root, _find_shapes(root))), float(width[1]) if width else 500.0)
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise UsageError(Kind.INACCESSIBLE, problem, file=path) from error
    except (UnicodeDecodeError, ElementTree.ParseError, _RefusedError) as error:
        problem = f"no picture of `capsbench show`, and not taken in: {error}"
        raise UsageError(Kind.DAMAGED, problem, file=path) from error


def _find_shapes(root: ElementTree.Element) -> frozenset[str]:
    """Returns the ids that ``use`` may repeat: plain outlines, so that no use holds further uses."""
    tags = [(element.get("id", ""), element.tag) for element in root.iter()]
    others = {name for name, tag in tags if tag != f"{SVG}path"}
    return frozenset(name for name, _ in tags if name not in others)


def _write_element(element: ElementTree.Element, shapes: frozenset[str], depth: int = 0) -> Iterator[str]:
    """Yields the text of an element and its children in pieces; raises _RefusedError for what is on no list."""
    name = element.tag.removeprefix(SVG)
    if depth and name in LEFT_OUT:
        return
    if name not in ELEMENTS or (name == "svg") != (depth == 0):
        raise _RefusedError(f"element {element.tag.rpartition('}')[2]!r}")
    if depth > DEEPEST:
        raise _RefusedError(f"elements within each other, more than {DEEPEST} deep")
    yield f"<{name}"
    if not depth:
        yield f' xmlns="{SVG.strip("{}")}" xmlns:xlink="{XLINK.strip("{}")}"'
    for attribute, value in element.attrib.items():
        yield f' {_check_attribute(name, attribute, value, shapes)}="{escape(value)}"'
    yield ">"
    if element.text:
        yield escape(element.text)
    for child in element:
        yield from _write_element(child, shapes, depth + 1)
        if child.tail:
            yield escape(child.tail)
    yield f"</{name}>"


def _check_attribute(element: str, attribute: str, value: str, shapes: frozenset[str]) -> str:
    """Returns the name under which an attribute is written; raises _RefusedError."""
    if attribute == "style":
        good = all(map(_is_style, filter(str.strip, value.split(";"))))
    elif attribute == f"{XLINK}href":
        pattern = HREF.get(element)
        good = pattern is not None and pattern.fullmatch(value) is not None
        good = good and (element != "use" or value[1:] in shapes)
    else:
        pattern = ELEMENTS[element].get(attribute)
        good = pattern is not None and pattern.fullmatch(value) is not None
    if not good:
        raise _RefusedError(f"attribute {attribute.rpartition('}')[2]!r} of {element}")
    return "xlink:href" if attribute == f"{XLINK}href" else attribute


def _is_style(declaration: str) -> bool:
    name, colon, value = declaration.partition(":")
    return bool(colon) and name.strip() in STYLES and _STYLE_VALUE.fullmatch(value) is not None
