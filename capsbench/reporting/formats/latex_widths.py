r"""Widths of texts in a table of a paper, at ``\footnotesize`` of a document of 10 points.

They are those of Computer Modern Roman at 8 points, which is wider than Times and its like, and so on the safe side.
"""

from __future__ import annotations

from functools import lru_cache

POINTS = 8.0
"""The size of the font."""

WIDTHS = {
    **dict.fromkeys("ijl.,:;!'|()[]·", 0.42),
    **dict.fromkeys("fIrt/-` ", 0.42),
    **dict.fromkeys("sceza0123456789go", 0.532),
    **dict.fromkeys("bdhknpquvxyJ", 0.6),
    **dict.fromkeys("ACDEFGHKLNOPQRSTUVXYZB", 0.83),
    **dict.fromkeys("mw%@&", 0.89),
    **dict.fromkeys("MW", 1.1),
    "\N{NO-BREAK SPACE}": 0.42,
    **dict.fromkeys("±+<>=∞→≥≤\N{MINUS SIGN}\N{MULTIPLICATION SIGN}", 1.0),
}
"""Character -> its width as a part of the font's size; signs with the space that mathematics puts beside them."""

OTHER = 0.9


@lru_cache(maxsize=100_000)  # a table is measured once for each layout that is tried
def measure_text(text: str) -> float:
    """Returns the width of a text in points."""
    return POINTS * sum(WIDTHS.get(letter, OTHER) for letter in text)
