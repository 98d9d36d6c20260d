"""What somebody may put into files for others to read, and what must never come of it."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from capsbench.presenting.terminal import to_plain
from capsbench.reporting.formats.html import TEMPLATE
from capsbench.reporting.svg import ELEMENTS, HREF

PROBE = "hostile_probe"
"""A module that leaves a file where it is imported, and others where what is in it is called."""

PROBE_SOURCE = """
import pathlib

HERE = pathlib.Path(__file__).parent

def call(*arguments, **named):
    (HERE / "called").touch()

class Meta(type):
    def __call__(cls, *arguments, **named):
        call()

class Odd(metaclass=Meta):
    pass

class Plain:
    def __init__(self, *arguments, **named):
        call()

class Lies:
    @property
    def __class__(self):
        call()

    def __call__(self, *arguments, **named):
        call()

    def __getattr__(self, name):
        call()
        raise AttributeError(name)

lies = Lies()
(HERE / "imported").touch()
"""

NAMED = [*(f"{PROBE}:{name}" for name in ("call", "Plain", "Odd", "lies", "Lies", "HERE", "pathlib", "nosuch")), PROBE]

TEXTS = [
    *NAMED,
    f"{PROBE}:call:touch x",
    f"accuracy:{PROBE}",
    f"file://{PROBE}.py",
    "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07",
    "\x1b]8;;https://example.org\x1b\\a link",
    "\x9b31m",
    "\r\b\x00",
    "\u202egnp.exe",
    "\u2028\u2029\ufeff",
    "\U0001f600" * 40,
    "<script>alert(1)</script>",
    "</style><script src=//example.org></script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "<!--",
    "]]>",
    "`<b>`",
    "[a](javascript:alert(1))",
    "![a](https://example.org/a.png)",
    "|a|b|\n|-|-|",
    "{{ 7 * 7 }}{% raw %}",
    "\\input{/etc/passwd}\\write18{touch x}$\\undefined$",
    "$$\\frac{",
    "=cmd|' /C calc'!A0",
    "@SUM(1)",
    "../../../etc/passwd",
    "/dev/zero",
    "%s%n{0}{flag:out}",
    "[red]rich[/red][link=https://example.org]",
]


class Probe:
    """The module `PROBE` in a folder on Python's path."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        (folder / f"{PROBE}.py").write_text(PROBE_SOURCE)
        patch.syspath_prepend(folder)

    def left(self) -> set[str]:
        """``imported`` and ``called``, if it was since this was asked last."""
        sys.modules.pop(PROBE, None)
        found = {name for name in ("imported", "called") if (self.folder / name).exists()}
        for name in found:
            (self.folder / name).unlink()
        return found


def acts(text: str) -> list[str]:
    """What of a text a terminal acts on."""
    return [line for line in text.splitlines() if to_plain(line) != line]


class _Page(HTMLParser):
    """What is in a page: each element with each of its attributes, references, and texts of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: set[tuple[str, str]] = set()
        self.references: set[str] = set()
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts |= {(tag, ""), *((tag, name) for name, _ in attrs)}
        self.references |= {value or "" for name, value in attrs if name in ("href", "xlink:href", "src", "action")}
        self.references |= {found for _, value in attrs for found in re.findall(r"url\(([^)]*)\)", value or "")}
        self._in_script = tag == "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False


def _allowed() -> set[tuple[str, str]]:
    written = re.sub(r"\{%.*?%\}|\{#.*?#\}|\{\{.*?\}\}", "", (TEMPLATE / "page.html").read_text(), flags=re.DOTALL)
    drawn = {(tag.lower(), name.lower()) for tag, names in ELEMENTS.items() for name in ("", "style", *names)}
    own = {("svg", name) for name in ("xmlns", "xmlns:xlink", "role", "aria-labelledby")}
    told = {("title", ""), ("title", "id"), ("desc", ""), ("desc", "id")}
    typeset = {("span", ""), ("span", "class"), ("abbr", ""), ("abbr", "title"), ("code", ""), ("code", "class")}
    return _Page(written).parts | drawn | own | told | typeset | {(tag, "xlink:href") for tag in HREF}


ALLOWED = _allowed()
"""Element and attribute, of those that the template of the page has, and drawings."""

SCRIPT = (TEMPLATE / "page.js").read_text()


def beyond(page: str) -> list[object]:
    """What is in a page that no report puts there."""
    found = _Page(page)
    foreign: list[object] = sorted(found.parts - ALLOWED)
    foreign += [each for each in found.references if not each.startswith(("#", "data:image/png;base64,"))]
    return foreign + [text for text in found.scripts if text.strip() != SCRIPT.strip()]
