"""Captions of tables, with the sentences that a table needs and no others."""

from __future__ import annotations

import re
from typing import NamedTuple

import pandas as pd


class About(NamedTuple):
    """A sentence that a caption has where a cell of the table has some words."""

    words: str
    sentence: str

    def applies_to(self, table: pd.DataFrame) -> bool:
        return any(self.words in text for text in _list_texts(table))


class AboutColumn(NamedTuple):
    """A sentence that a caption has where a heading of the table has some words."""

    words: str
    sentence: str

    def applies_to(self, table: pd.DataFrame) -> bool:
        return any(self.words in str(heading) for heading in table)


Caption = tuple[str | About | AboutColumn, ...]
"""The sentences of a caption, in order."""

CUT_INTERVAL = re.compile(r"\[-?[\d.,]+, -?[\d.,]+\]")
ABOUT_CUT_INTERVALS = "In brackets: the ends of a 95 % interval that the end of the scale cuts."


def spell_caption(caption: str | Caption, table: pd.DataFrame) -> str:
    """Returns the sentences of a caption that a table of strings needs, and one on cut intervals where it has some."""
    sentences = (caption,) if isinstance(caption, str) else caption
    needed = [
        sentence if isinstance(sentence, str) else sentence.sentence
        for sentence in sentences
        if isinstance(sentence, str) or sentence.applies_to(table)
    ]
    if any(CUT_INTERVAL.search(text) for text in _list_texts(table)):
        needed.append(ABOUT_CUT_INTERVALS)
    return " ".join(needed)


def _list_texts(table: pd.DataFrame) -> list[str]:
    return [str(value) for value in table.to_numpy().flat]
