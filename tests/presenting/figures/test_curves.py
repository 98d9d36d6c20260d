"""Bands of curves."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from capsbench.presenting.figures.curves import draw_curves, t_interval
from capsbench.presenting.figures.style import STYLE
from capsbench.stats.differences import estimate_interval


@pytest.mark.parametrize(
    ("unit", "most"), [("fraction", 100.0), ("ratio", 100 * (0.98 + estimate_interval([0.96, 0.98, 1.0])[1]))]
)
def test_a_band_of_shares_ends_where_they_do(unit: str, most: float) -> None:
    rows = pd.DataFrame({"contender": "a", "level": [0.0, 1.0] * 3, "value": [0.96, 0.5, 0.98, 0.5, 1.0, 0.5]})
    look = dict(contender="a", color="C0", dashes="-", marker="o", face="C0", label="a")
    with mpl.rc_context(STYLE):
        axes = Figure().subplots()
        draw_curves(axes, rows.assign(unit=unit, step=0.02), pd.DataFrame([look]))
    (band,) = axes.collections
    assert np.asarray(band.get_paths()[0].vertices)[:, 1].max() == pytest.approx(most)


def test_the_band_is_the_interval_of_the_step() -> None:
    low, high = t_interval(pd.Series([50.0, 50.0, 50.0]), step=2.0, unit="%")
    assert (low, high) == pytest.approx(
        (50 - estimate_interval([0.5] * 3, step=0.02)[1] * 100, 50 + estimate_interval([0.5] * 3, step=0.02)[1] * 100)
    )
