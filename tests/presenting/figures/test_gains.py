"""The picture of gains and costs: a row a budget, a point a capsule network."""

from __future__ import annotations

import math

import pytest

from capsbench import registry
from capsbench.presenting.figures.files import render_svg
from capsbench.presenting.figures.gains import COUNT, Gain, assign_colors, draw_gains, find_height, group_rows

GAINS = [
    Gain("accuracy", "mnist, 3 seeds", "em", 3, 2.0, 1.0, 3.0, "different"),
    Gain("accuracy", "mnist, 3 seeds", "em", 1, -20.0, -60.0, 20.0, "not significant"),
    Gain("warps", "digits, 1 seed", "dynamic", 1, -0.2, math.nan, math.nan, "not tested"),
]
COSTS = [Gain("operations", "mnist", "em", 1, 4.0, 4.0, 4.0, COUNT)]


def test_rows_are_numbers_and_budgets_and_points_are_in_order() -> None:
    groups = group_rows(GAINS)
    assert {number: list(budgets) for number, budgets in groups.items()} == {
        "accuracy": ["mnist, 3 seeds"],
        "warps": ["digits, 1 seed"],
    }
    assert [point.iterations for point in groups["accuracy"]["mnist, 3 seeds"]] == [1, 3]
    assert find_height(GAINS) > find_height(GAINS[:2]) > find_height(GAINS[:1])


def test_a_routing_keeps_its_colour_beside_others() -> None:
    known = list(registry.names("routing"))
    colors = assign_colors([*known, "my_module:Mine"])
    assert len(set(colors.values())) == len(known) + 1
    assert all(assign_colors([name])[name] == colors[name] for name in known)


def test_both_panels_hold_all_points_and_less_cost_is_to_the_right() -> None:
    figure = draw_gains(GAINS, COSTS).figure
    gains, costs = figure.axes
    assert [tick.get_text() for tick in gains.get_yticklabels()] == ["mnist, 3 seeds", "digits, 1 seed"]
    low, high = gains.get_xlim()
    assert low == -high
    assert high > 60
    left, right = costs.get_xlim()
    assert left > 4 > 1 > right
    svg = render_svg(figure)
    assert all(word in svg for word in (b"em \xc3\x973", b"operations", b"dynamic"))


def test_nothing_is_drawn_of_nothing() -> None:
    with pytest.raises(ValueError, match="no gain"):
        draw_gains([], COSTS)
