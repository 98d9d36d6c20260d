"""The slide of gains and costs: a row a number, a point a capsule network."""

from __future__ import annotations

import math

import pytest

from capsbench import registry
from capsbench.presenting.figures.files import render_svg
from capsbench.presenting.figures.gains import (
    COUNT,
    LEAST_HEIGHT,
    Gain,
    assign_colors,
    count_results,
    draw_gains,
    find_height,
    group_points,
)

TINY, SMALL = "digits, tiny", "mnist, small"
GAINS = [
    Gain("accuracy", SMALL, "mnist, 3 seeds", "em", 3, 2.0, 1.0, 3.0, "different"),
    Gain("accuracy", SMALL, "mnist, 3 seeds", "em", 1, -20.0, -60.0, 20.0, "not significant"),
    Gain("accuracy", TINY, "digits, 3 seeds", "em", 1, -5.0, -6.0, -4.0, "different"),
    Gain("accuracy", TINY, "digits, 3 seeds", "em", 2, -9.0, -9.5, -8.5, "undecided"),
    Gain("warps", TINY, "digits, 1 seed", "dynamic", 1, -0.2, math.nan, math.nan, "not tested"),
]
COSTS = [
    Gain("operations", SMALL, "mnist", "em", 1, 4.0, 4.0, 4.0, COUNT),
    Gain("operations", SMALL, "mnist", "dynamic", 1, 0.1, 0.1, 0.1, COUNT),
    Gain("time", SMALL, "mnist, 3 seeds", "em", 1, 6.0, math.nan, math.nan, "not tested"),
]


def test_rows_are_numbers_whose_points_are_in_order() -> None:
    rows = group_points(GAINS)
    assert {number: [point.mean for point in points] for number, points in rows.items()} == {
        "accuracy": [-20.0, -9.0, -5.0, 2.0],
        "warps": [-0.2],
    }
    assert find_height(rows["accuracy"]) > find_height(rows["warps"])


def test_a_row_counts_what_its_points_say() -> None:
    assert count_results(GAINS[:4]) == "1 better, 1 worse, 2 undecided"
    assert count_results(COSTS) == "1 cheaper, 1 dearer, 1 not tested"


def test_a_routing_keeps_its_colour_beside_others() -> None:
    known = list(registry.names("routing"))
    colors = assign_colors([*known, "my_module:Mine"])
    assert len(set(colors.values())) == len(known) + 1
    assert all(assign_colors([name])[name] == colors[name] for name in known)


def test_both_panels_have_the_shape_of_a_slide_and_less_cost_is_to_the_right() -> None:
    figure = draw_gains(GAINS, COSTS).figure
    assert figure.get_figheight() == LEAST_HEIGHT
    gains, costs = figure.axes
    low, high = gains.get_xlim()
    assert low == -high
    assert high > 60
    left, right = costs.get_xlim()
    assert left > 6 > 1 > right
    svg = render_svg(figure)
    assert all(word in svg for word in (b"em \xc3\x973", b"operations", b"dynamic"))


def test_a_significant_difference_is_named_and_one_without_an_interval_is_left_out() -> None:
    texts = [text.get_text() for text in draw_gains(GAINS, COSTS).figure.axes[0].texts]
    assert texts.count(SMALL) == 1
    assert texts.count(TINY) == 1
    assert "warps" not in texts


def test_nothing_is_drawn_of_nothing() -> None:
    with pytest.raises(ValueError, match="no gain"):
        draw_gains(GAINS[-1:], COSTS)
