"""Classes in a picture: their names where these fit, otherwise numbers that a note explains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from capsbench.presenting.figures.figure import text_width

MOST_NAMED = 20
"""The most classes that a note names."""


class ClassLabels(NamedTuple):
    """The texts of the classes, in the order of their numbers.

    - ``words``: short ones
    - ``entries``: those of a legend, which has room for names
    - ``note``: a sentence of the caption, after a space, on what ``words`` mean; empty if they are names
    """

    words: Sequence[str]
    entries: Sequence[str]
    note: str = ""


def label_classes(names: Sequence[str], width: float) -> ClassLabels:
    """Returns names as labels if each takes at most ``width`` points, else numbers and a note with the names."""
    numbers = [str(number) for number in range(len(names))]
    if list(names) == numbers or all(text_width(name) <= width for name in names):
        return ClassLabels(names, names)
    entries = [f"{number} {name}" for number, name in zip(numbers, names, strict=True)]
    listed = [*entries[:MOST_NAMED], *(["\N{HORIZONTAL ELLIPSIS}"] if len(names) > MOST_NAMED else [])]
    return ClassLabels(numbers, entries, f" Classes: {', '.join(listed)}.")
