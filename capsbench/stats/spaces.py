"""Spaces: the values that a search for settings draws from.

A field of the Cell declares its space in its `capsbench.records.declaration.Declaration`, and a network, routing or loss those
of its options in the class attribute ``spaces``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from capsbench.errors import spell_typed

Value = bool | int | float | str

DIGITS = 3
"""The significant digits of a number drawn from a range: a record then shows all of it."""

MARGIN = 0.05
"""The share of a range at each of its ends in which a value is at the edge."""


@dataclass(frozen=True)
class Range:
    """The numbers from ``low`` to ``high``: uniform in the logarithm if ``low`` is above 0, else uniform."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and 0 <= self.low < self.high):
            raise ValueError(f"expected two numbers LOW < HIGH, from 0 on, got {self}")

    @property
    def is_logarithmic(self) -> bool:
        """True if equal factors are equally probable, rather than equal differences."""
        return self.low > 0

    def draw(self, share: float) -> float:
        """Returns the value below which a share of the distribution lies, for a share in [0, 1)."""
        width = self.high - self.low
        value = self.low * (self.high / self.low) ** share if self.is_logarithmic else self.low + width * share
        return self.round(value)

    def round(self, value: float) -> float:
        """Returns a value with `DIGITS` significant digits, within the range."""
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def is_edge(self, value: Value) -> bool:
        """Returns true for a value so near to an end that better ones may lie beyond it."""
        if isinstance(value, str):
            return False
        if not self.low < value < self.high:  # a tuner of the user's own may leave the space
            return True
        share = (
            math.log(value / self.low) / math.log(self.high / self.low)
            if self.is_logarithmic
            else (value - self.low) / (self.high - self.low)
        )
        # Rounding may move a value across the margin, so a hair is added to it.
        return not MARGIN + 1e-9 < share < 1 - MARGIN - 1e-9

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class Choice:
    """Some values of equal probability. Those of numbers stand in order of their size."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if len(set(self.values)) < len(self.values) or not self.values:
            raise ValueError(f"expected values that all differ, got {self.values}")

    def draw(self, share: float) -> Value:
        """Returns the value in whose part of the distribution a share in [0, 1) lies."""
        return self.values[int(share * len(self.values))]

    def is_edge(self, value: Value) -> bool:
        """Returns true for the smallest and the largest of three numbers or more: better ones may lie beyond them."""
        numbers = [number for number in self.values if isinstance(number, int | float) and not isinstance(number, bool)]
        return len(numbers) == len(self.values) > 2 and value in (min(numbers), max(numbers))

    def __str__(self) -> str:
        return ",".join(map(spell_typed, self.values))


Space = Range | Choice


def parse_space(text: str) -> Space:
    """Returns the space of ``LOW..HIGH`` or of ``A,B,C``, whose values are strings; raises ValueError."""
    low, dots, high = text.partition("..")
    if dots:
        return Range(float(low), float(high))
    return Choice(tuple(value.strip() for value in text.split(",")))
