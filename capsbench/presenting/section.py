"""A part of a report: a table and pictures that are made of records.

The section of a measure is in the file ``section.py`` of its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from capsbench.presenting.caption import Caption
from capsbench.presenting.figures.figure import Picture
from capsbench.presenting.images import ImagesTaken
from capsbench.presenting.material import Material


@dataclass(frozen=True)
class Statement:
    """What a section says in words.

    Attributes:
        lead: the answer, in a sentence or a few.
        items: a sentence on each detail.
        remarks: sentences on how the answer came about.
    """

    lead: str
    items: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        name: file name, without ending, of its table.
        title: its heading.
        caption: how to read the table and the pictures, in a few sentences.
        table: numbers, one row a contender (or contender and condition), those of people's interest first; raises NoDataError.
        readable: the table as strings under short headings; the first column is the contender's name, the others are numbers.
        pictures: file name without ending -> what draws it; raises NoDataError.
        images: the number of test images of its numbers; None if another text says it, or for all of them.
        explains: a line of "who won" without its unit -> a sentence on that number of the measure, which stands below that table.
        statements: what its numbers say, which stands before its table; None for a section that is a table alone.
    """

    name: str
    title: str
    caption: str | Caption
    table: Callable[[Material], pd.DataFrame]
    readable: Callable[[pd.DataFrame], pd.DataFrame]
    pictures: Mapping[str, Callable[[Material], Picture]] = field(default_factory=dict)
    images: ImagesTaken | None = None
    explains: Mapping[str, str] = field(default_factory=dict)
    statements: Callable[[pd.DataFrame], list[Statement]] | None = None

    def about_images(self, material: Material) -> str:
        """Returns a sentence on the number of images, with a space before it; empty if another text says it."""
        return "" if self.images is None else f" {self.images.describe_images(material, self.name)}"
