"""What is said below a table or a picture: no more than what stands there needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class About(NamedTuple):
    """A sentence of a caption that stands only where a heading or a string of the table has some words."""

    words: str
    sentence: str


Caption = tuple[str | About, ...]
"""The sentences of a caption, in order."""


def spell_caption(caption: str | Caption, strings: Iterable[str]) -> str:
    """The sentences of a caption that a table needs.

    Args:
        strings: of the table, headings among them.
    """
    if isinstance(caption, str):
        return caption
    together = "\n".join(strings)
    spoken = [each for each in caption if isinstance(each, str) or each.words in together]
    return " ".join(each if isinstance(each, str) else each.sentence for each in spoken)
