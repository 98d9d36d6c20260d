"""Pictures that lie in a results folder, as parts of a page: nothing of them reaches it but what draws.

A folder may come from anywhere, so a picture is parsed as XML, held against lists of what matplotlib writes, and written anew
from what was parsed: what a browser reads is what was checked. What is on no list is refused, whatever it would do.
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
"""Bytes of a picture; those of `capsbench show` have a tenth of it at most."""

DEEPEST = 32
"""Elements within each other; matplotlib's have six."""

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
"""Element -> its attributes beside ``style`` and ``xlink:href``, and what their values look like."""

HREF = {"use": re.compile(r"#[\w.-]+"), "image": _PIXELS}
"""Element -> what it may refer to: a part of the same picture, or pixels."""

STYLES = (
    *("fill", "fill-opacity", "fill-rule", "opacity", "text-anchor", "image-rendering"),
    *("stroke", "stroke-width", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "stroke-opacity"),
    *("stroke-dasharray", "stroke-dashoffset"),
    *("font", "font-size", "font-family", "font-weight", "font-style", "font-stretch", "font-variant"),
)
"""The properties that a style may set."""

LEFT_OUT = ("metadata", "style")
"""Elements of matplotlib's that a page does without; they are not written."""


class Drawn(NamedTuple):
    """A picture that was checked: its text, and its width in points."""

    svg: str
    width: float


class _RefusedError(ValueError):
    """What is in a picture that is no part of a drawing."""


def read_picture(path: Path) -> Drawn:
    """A picture for a page; raises UsageError, naming the file, for one that cannot be read or does more than draw."""
    try:
        text = read_file(path, LARGEST).decode()
        if "<!ENTITY" in text:  # a few lines of these grow to gigabytes
            raise _RefusedError("it declares entities")
        root = ElementTree.fromstring(text)
        if root.tag != f"{SVG}svg":
            raise _RefusedError("it is no SVG")
        width = _LENGTH.fullmatch(root.get("width", "500"))
        return Drawn("".join(_write_element(root, _find_shapes(root))), float(width[1]) if width else 500.0)
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise UsageError(Kind.INACCESSIBLE, problem, file=path) from error
    except (UnicodeDecodeError, ElementTree.ParseError, _RefusedError) as error:
        problem = f"no picture of `capsbench show`, and not taken in: {error}"
        raise UsageError(Kind.DAMAGED, problem, file=path) from error


def _find_shapes(root: ElementTree.Element) -> frozenset[str]:
    """What may be used again and again: plain outlines, so that no use holds further uses."""
    named = [(element.get("id", ""), element.tag) for element in root.iter()]
    others = {name for name, tag in named if tag != f"{SVG}path"}
    return frozenset(name for name, _ in named if name not in others)


def _write_element(element: ElementTree.Element, shapes: frozenset[str], depth: int = 0) -> Iterator[str]:
    """An element and all in it as text, in pieces; raises _RefusedError for what is on no list."""
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
    """The name under which an attribute is written; raises _RefusedError."""
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
