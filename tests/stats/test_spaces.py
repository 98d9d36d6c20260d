"""Spaces of a search: what they draw, what is at their edge, and how a user writes them."""

from __future__ import annotations

import numpy as np
import pytest

from capsbench.stats.spaces import Choice, Range, parse_space


def test_a_range_above_0_is_uniform_in_the_logarithm() -> None:
    space = Range(0.001, 0.1)
    assert [space.draw(share) for share in (0.0, 0.25, 0.5, 0.75)] == [0.001, 0.00316, 0.01, 0.0316]


def test_a_range_from_0_is_uniform() -> None:
    assert [Range(0.0, 0.5).draw(share) for share in (0.0, 0.25, 0.5)] == [0.0, 0.125, 0.25]


def test_a_rounded_value_stays_in_its_range() -> None:
    space = Range(0.0012345, 0.0054321)
    values = [space.draw(share) for share in (0.0, np.nextafter(1, 0))]
    assert values == [0.0012345, 0.00543]


def test_each_value_of_a_choice_has_an_equal_part() -> None:
    space = Choice((32, 64, 128))
    assert [space.draw(share) for share in (0.0, 0.33, 0.34, 0.66, 0.67, np.nextafter(1, 0))] == [
        32, 32, 64, 64, 128, 128,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("space", "inside", "at_edge"),
    [
        (Range(0.001, 0.1), [0.002, 0.01, 0.05], [0.001, 0.00125, 0.08, 0.1]),
        (Range(0.0, 1.0), [0.06, 0.94], [0.0, 0.04, 0.96, 1.0]),
        (Choice((32, 64, 128)), [64], [32, 128]),
        (Choice((32, 64)), [32, 64], []),  # of two values, each would be at the edge
        (Choice(("constant", "linear", "one-cycle")), ["constant", "one-cycle"], []),
        (Choice((False, True)), [False, True], []),
    ],
)
def test_values_near_an_end_are_at_the_edge(space, inside, at_edge) -> None:
    assert [space.is_edge(value) for value in inside] == [False] * len(inside)
    assert [space.is_edge(value) for value in at_edge] == [True] * len(at_edge)


def test_values_beyond_a_range_are_at_its_edge() -> None:
    assert [Range(1e-7, 1e-3).is_edge(value) for value in (0.0, 1e-8, 1.0)] == [True] * 3
    assert Range(0.0, 1.0).is_edge(-1.0)


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("0.001..0.1", Range(0.001, 0.1)),
        ("0..1", Range(0.0, 1.0)),
        ("32, 64,128", Choice(("32", "64", "128"))),
        ("linear", Choice(("linear",))),
    ],
)
def test_a_user_writes_a_range_or_a_list(text, space) -> None:
    assert parse_space(text) == space


@pytest.mark.parametrize("text", ["0.1..0.001", "-1..1", "1..inf", "a..b", "1,1", "0..nan", "1..1"])
def test_other_texts_are_no_space(text) -> None:
    with pytest.raises(ValueError, match=r"expected|float"):
        parse_space(text)


@pytest.mark.parametrize("space", [Range(0.001, 0.1), Range(0.0, 2.0), Choice((32, 64, 128)), Choice(("yes", "no"))])
def test_a_space_is_written_as_it_is_read(space) -> None:
    read = parse_space(str(space))
    assert str(read) == str(space)


def test_switches_are_written_as_they_are_typed() -> None:
    assert [str(Choice(values)) for values in ((True, False), (False,), (0, 1))] == ["yes,no", "no", "0,1"]


def test_any_value_is_rounded_within_its_range() -> None:
    range_ = Range(0.00051234, 0.98765)
    assert range_.round(0.000512345) == 0.00051234
    assert range_.round(0.98764) == 0.98765
    assert range_.round(0.123456) == 0.123
