"""Numbers with their intervals as people read them."""

from __future__ import annotations

import math

import pytest

from capsbench.presenting.format import (
    PERCENT,
    POINTS,
    cut_interval,
    format_interval,
    parse_quantity,
    spell_seeds,
    split_interval,
)
from capsbench.presenting.words import TIMES


@pytest.mark.parametrize(
    ("value", "half", "unit", "shown"),
    [
        (97.3, 0.8, PERCENT, "97.3 ± 0.8"),
        (99.5, 1.4, PERCENT, "99.5 [98.1, 100.0]"),
        (99.5, 0.54, PERCENT, "99.5 ± 0.5"),  # by less than is printed
        (1.0, 2.0, PERCENT, "1.0 [0.0, 3.0]"),
        (50.0, 60.0, PERCENT, "50.0 [0.0, 100.0]"),
        (98.5, 1.4, POINTS, "98.5 ± 1.4"),
        (-99.5, 1.4, POINTS, "-99.5 [-100.0, -98.1]"),
        (-3.0, 1.0, PERCENT, "-3.0 ± 1.0"),  # no share
        (0.9, 0.2, "", "0.9 ± 0.2"),
        (99.5, math.nan, PERCENT, "99.5"),
        (math.nan, math.nan, PERCENT, ""),
    ],
)
def test_what_a_number_cannot_be_is_no_part_of_its_interval(value: float, half: float, unit: str, shown: str) -> None:
    assert format_interval(value, half, 1, unit) == shown


def test_differences_have_their_signs() -> None:
    assert format_interval(62.0, 45.0, 1, POINTS, "+z") == "+62.0 [+17.0, +100.0]"
    assert format_interval(-0.01, 0.2, 1, POINTS, "+z") == "+0.0 ± 0.2"


def test_the_ends_are_those_of_the_interval_or_the_bounds() -> None:
    assert cut_interval(99.5, 1.4) == pytest.approx((98.1, 100.0))
    assert cut_interval(99.5, 1.4, "ms") == pytest.approx((98.1, 100.9))


@pytest.mark.parametrize(
    ("text", "value", "parts"),
    [
        ("99.5 [98.1, 100.0]", 99.5, ("99.5", " [98.1, 100.0]", "")),
        ("+62.0 [+17.0, +100.0]*", 62.0, ("+62.0", " [+17.0, +100.0]", "*")),
        ("98.0 [85.0, 100.0] (n=2)", 98.0, ("98.0", " [85.0, 100.0]", " (n=2)")),
        ("97.3 ± 0.8 †", 97.3, ("97.3", " ± 0.8", " †")),
        ("28.0K", 28_000.0, ("28.0K", "", "")),
    ],
)
def test_both_forms_are_numbers(text: str, value: float, parts: tuple[str, str, str]) -> None:
    quantity = parse_quantity(text)
    assert quantity is not None
    assert quantity.value == value
    assert split_interval(text) == parts


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("97.3 ± 0.8", 97.3, ""),
        ("-0.6 ± 1.3*", -0.6, ""),
        ("+0.7 (n=2)", 0.7, ""),
        ("2 of 3", 2, ""),
        ("28.0K", 28_000, ""),
        ("1.2M", 1_200_000, ""),
        ("12.0 ms", 12, "ms"),
        ("1,024 MiB", 1024, "MiB"),
        ("5.2 % †", 5.2, "%"),
        ("1e-06", 1e-6, ""),
        ("79 (unverified)", 79, ""),
    ],
)
def test_what_a_string_of_a_table_says(text: str, value: float, unit: str) -> None:
    quantity = parse_quantity(text)
    assert quantity is not None
    assert (quantity.value, quantity.unit) == (pytest.approx(value), unit)
    assert unit not in quantity.bare or not unit


@pytest.mark.parametrize("text", ["", "all", f"em {TIMES}3", "0.05 / 0.5", "none", "1.2.3x", "97.3 ± 0.8 and more"])
def test_what_is_not_a_number(text: str) -> None:
    assert parse_quantity(text) is None


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([0], "seed 0"),
        ([0, 2], "seeds 0, 2"),
        ([0, 1, 2], "seeds 0, 1, 2"),
        ([0, 1, 2, 3, 4], "seeds 0 to 4"),
        ([0, 1, 2, 9], "seeds 0, 1, 2, 9"),
    ],
)
def test_seeds_in_words(numbers: list[int], text: str) -> None:
    assert spell_seeds(numbers) == text
