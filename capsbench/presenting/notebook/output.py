"""The content of an object's display in a notebook; `capsbench.presenting.notebook.html` writes it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from capsbench.presenting.terminal import to_one_line

if TYPE_CHECKING:
    import pandas as pd

MOST_LETTERS = 200
"""Letters of a plain `repr`."""


@dataclass(frozen=True)
class Grid:
    """A table of strings.

    Attributes:
        headings: one a column.
        rows: the strings, a list a row.
        numbers: true for each column of numbers; none if no column has some.
        title: a short phrase; empty for a table that needs none.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[bool] = ()
    title: str = ""

    @classmethod
    def from_strings(cls, strings: pd.DataFrame, title: str = "") -> Grid:
        """Returns a data frame of strings as a table."""
        return cls([*map(str, strings.columns)], strings.astype(str).to_numpy().tolist(), title=title)


@dataclass(frozen=True)
class Shot:
    """A picture as a file.

    Attributes:
        name, title: its name without ending, and what it shows.
        form: ``svg`` or ``png``.
        content: the file.
        width: in pixels of the page.
    """

    name: str
    title: str
    form: str
    content: bytes
    width: int

    @classmethod
    def from_files(cls, name: str, title: str, files: Mapping[str, bytes], inches: float) -> Shot | None:
        """Returns a picture of one of its files; None if it was drawn in no form that a notebook shows."""
        form = next((form for form in ("svg", "png") if form in files), None)
        return None if form is None else cls(name, title, form, files[form], round(inches * 96))


@dataclass(frozen=True)
class Output:
    """What a notebook shows of an object.

    Attributes:
        lead: the result in a sentence.
        cautions: what the reader should know before any number.
        items: details, a line each.
        tables: some tables.
        shots: pictures, of which the first ones are shown and the others named.
        notes: remarks, a line each.
    """

    lead: str
    cautions: Sequence[str] = ()
    items: Sequence[str] = ()
    tables: Sequence[Grid] = ()
    shots: Sequence[Shot] = field(default=())
    notes: Sequence[str] = ()


class Displayed:
    """An object that a notebook shows as HTML, and any other place in a line."""

    @abstractmethod
    def describe_output(self) -> Output:
        """Returns what to show."""

    @property
    def interrupted(self) -> bool:
        """True for the result of what Ctrl-C has ended before it was done."""
        return False

    def describe_end(self) -> str:
        """Returns the result in a line, and how to go on."""
        output = self.describe_output()
        return "; ".join([output.lead, *output.cautions])

    def _repr_html_(self) -> str:
        from capsbench.presenting.notebook.html import render_output  # imports Jinja

        return render_output(self.describe_output())

    def __repr__(self) -> str:
        lead = to_one_line(self.describe_end())
        return f"<{type(self).__name__}: {lead if len(lead) <= MOST_LETTERS else lead[: MOST_LETTERS - 1] + '…'}>"
