"""Forest plots: where each row is, and what an axis cuts."""

from __future__ import annotations

import math

import pytest

from capsbench.presenting.figures.files import render_svg
from capsbench.presenting.figures.forest import (
    LOOKS,
    ForestBlock,
    ForestPanel,
    ForestRow,
    draw_forest,
    find_limit,
    is_cut,
)


def row(mean: float, half: float = math.nan, result: str = "not significant", name: str = "other") -> ForestRow:
    return ForestRow(name, mean, mean - half, mean + half, result)


ROWS = [row(1.0, 0.5, "better"), row(-2.0, 1.0, "worse"), row(0.2, 40.0), row(0.5, result="not tested")]
PANEL = ForestPanel("one", "points", [ForestBlock("accuracy", ROWS[:2]), ForestBlock("warps", ROWS[2:])])


def test_no_interval_dwarfs_the_others():
    assert find_limit(ROWS) == pytest.approx(1.1 * 6)  # three times the largest mean
    assert is_cut(ROWS)
    assert find_limit(ROWS[:2]) == pytest.approx(1.1 * 3)  # the end of the longest interval
    assert not is_cut(ROWS[:2])


def test_means_without_intervals_are_inside():
    assert find_limit([row(-3.0), row(1.0)]) == pytest.approx(3.3)
    assert find_limit([row(0.0)]) == 1.0
    assert not is_cut([row(-3.0)])


def test_a_panel_is_as_high_as_its_rows_and_headings():
    assert PANEL.lines == 6
    figure = draw_forest([PANEL, PANEL._replace(title="", blocks=PANEL.blocks[:1])], "title", "caption").figure
    first, second = (axes.get_position() for axes in figure.axes)
    assert first.height / second.height == pytest.approx(6 / 3)
    assert first.y0 > second.y1
    assert first.x0 == second.x0


def test_each_row_has_its_mean_and_its_interval_as_far_as_the_axis_reaches():
    figure = draw_forest([PANEL], "title", "caption").figure
    (axes,) = figure.axes
    limit = find_limit(ROWS)
    bars = [
        [*map(float, line.get_xdata())]
        for line in axes.lines
        if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"
    ]
    bars = [bar for bar in bars if bar != [0.0, 0.0]]  # the line at zero
    assert [*zip(*bars, strict=True)] == [(0.5, -3.0, -limit), (1.5, -1.0, limit)]
    points = [float(line.get_xdata()[0]) for line in axes.lines if len(line.get_xdata()) == 1]
    assert {1.0, -2.0, 0.2, 0.5, -limit, limit} == {*points}
    assert [text.get_text() for text in axes.get_yticklabels()] == ["other"] * 4
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # from top to bottom


def test_the_legend_has_the_results_that_occur():
    figure = draw_forest([PANEL._replace(blocks=[ForestBlock("accuracy", ROWS[:1])])], "title", "caption").figure
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [LOOKS["better"][2]]
    assert "significantly better" in render_svg(figure).decode()
