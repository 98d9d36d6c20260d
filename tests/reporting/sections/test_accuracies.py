"""The picture at the head of a report: each contender in a row of its own, the best above."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from capsbench.presenting.contenders import summary as plain_summary
from capsbench.presenting.figures.style import add_styles
from capsbench.presenting.material import NoDataError
from capsbench.presenting.words import TIMES
from capsbench.records.record import Record
from capsbench.reporting.sections.accuracies import draw_accuracies

Make = Callable[..., Record]


def summary(records: list[Record]) -> pd.DataFrame:
    return add_styles(plain_summary(records))


def test_rows_are_ranked_and_have_their_intervals(capsules: Make, matched: Make) -> None:
    records = [
        make(mean + seed / 100, seed=seed) for make, mean in ((capsules, 0.90), (matched, 0.94)) for seed in range(3)
    ]
    (axes,) = draw_accuracies(summary(records)).figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["matched CNN", f"em {TIMES}3"]
    bars, points = axes.lines[::2], axes.lines[1::2]
    assert [point.get_xdata()[0] for point in points] == pytest.approx([95.0, 91.0])
    assert [sum(bar.get_xdata()) / 2 for bar in bars] == pytest.approx([95.0, 91.0])
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # from above


def test_each_data_set_has_a_panel_and_long_names_have_lines(capsules: Make) -> None:
    names = ("digits", "mnist")
    options = [
        {"network.stem": 32, "routing.epsilon": part, "routing.floor": part, "routing.final_beta": part}
        for part in (0.1, 0.2)
    ]
    table = summary([capsules(dataset=name, options=each, learning_rate=0.1) for name in names for each in options])
    axes = draw_accuracies(table).figure.axes
    assert [panel.get_title() for panel in axes] == ["digits", "mnist"]
    assert all("\n" in label.get_text() for label in axes[0].get_yticklabels())


def test_without_a_test_accuracy_there_is_no_picture(capsules: Make) -> None:
    with pytest.raises(NoDataError):
        draw_accuracies(summary([capsules(None)]))
