"""The style: colours that everyone can tell apart on both kinds of page, and a look of its own for each contender."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from capsbench.presenting.contenders import summary
from capsbench.presenting.figures.files import render_svg
from capsbench.presenting.figures.style import DASHES, MARKERS, NEUTRALS, PALETTE, PAPER, STYLE, add_styles
from capsbench.presenting.words import TIMES
from capsbench.records.record import Record

Make = Callable[..., Record]

SEEN = {
    "anyone": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""How linear RGB is seen: Machado, Oliveira and Fernandes, 2009, table 1, severity 1."""

TO_XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
DARK = "#14181d"


def linear(color: str) -> np.ndarray:
    channels = np.array([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear sRGB under D65."""
    x, y, z = np.cbrt(TO_XYZ @ np.clip(rgb, 1e-3, 1) / [0.95047, 1, 1.08883])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    """Of WCAG 2."""
    low, high = sorted(float(TO_XYZ[1] @ linear(color)) + 0.05 for color in (one, other))
    return high / low


@pytest.mark.parametrize("eyes", SEEN)
def test_colours_of_series_differ_for_all_eyes(eyes: str) -> None:
    seen = [lab(np.asarray(SEEN[eyes]) @ linear(color)) for color in PALETTE]
    for colors, least in ((seen[:6], 25), (seen, 16)):  # 2.3 is just noticeable
        assert min(np.linalg.norm(one - other) for one, other in combinations(colors, 2)) > least


@pytest.mark.parametrize("page", [PAPER, DARK])
def test_colours_of_series_stand_out_on_a_light_and_a_dark_page_and_in_grey_print(page: str) -> None:
    assert min(contrast(color, page) for color in PALETTE) > 2.95


def test_neutral_colours_have_one_purpose_each() -> None:
    assert all(color == color.lower() and len(color) == 7 for color in NEUTRALS)
    assert not set(NEUTRALS) & set(PALETTE)
    assert len(set(NEUTRALS.values())) == len(NEUTRALS)


def test_each_contender_has_a_colour_and_a_marker_and_iterations_have_line_styles(
    capsules: Make, matched: Make
) -> None:
    dynamic = dict(routing="dynamic", network="capsnet", loss="margin")
    records = [make for count in (1, 3) for make in (capsules(iterations=count), capsules(iterations=count, **dynamic))]
    table = add_styles(summary([*records, matched()])).set_index("label")
    assert sorted(table["color"]) == sorted(PALETTE[: len(table)])
    assert sorted(table["marker"]) == sorted(MARKERS[: len(table)])
    assert table["dashes"][f"em {TIMES}3"] == "-"
    assert table["dashes"][f"em {TIMES}1"] == DASHES[1]
    assert (table["face"] == PAPER).tolist() == [label == "matched CNN" for label in table.index]


def test_a_contender_has_the_same_colour_on_all_data_sets(capsules: Make) -> None:
    table = add_styles(summary([capsules(dataset=name, iterations=n) for name in ("digits", "mnist") for n in (1, 3)]))
    assert table.groupby("label")["color"].nunique().tolist() == [1, 1]


def test_of_more_contenders_than_colours_the_most_accurate_have_their_own(capsules: Make, matched: Make) -> None:
    records = [capsules(0.7 + count / 100, iterations=count) for count in range(1, 31)]
    table = add_styles(summary([*records, matched(0.5)]))
    best = table.nlargest(len(PALETTE) - 1, "accuracy_percent")["label"].tolist()
    assert sorted(table[table["label"].isin([*best, "matched CNN"])]["color"]) == sorted(PALETTE)
    assert not table.duplicated(["color", "marker"]).any()


def test_pictures_look_the_same_whatever_the_settings_of_the_folder_they_are_made_in() -> None:
    with mpl.rc_context({"text.usetex": True, "axes.titleweight": "bold"}), mpl.rc_context(STYLE):
        assert mpl.rcParams["text.usetex"] is False
        assert mpl.rcParams["axes.titleweight"] == mpl.rcParamsDefault["axes.titleweight"]


@pytest.mark.parametrize("text", ["$$\\frac{", "$a$", "a $ b $ c"])
def test_dollar_signs_in_a_name_are_no_mathematics(text: str) -> None:
    with mpl.rc_context(STYLE):
        figure = Figure()
        figure.add_subplot().set_title(text)
    assert f">{text}</text>" in render_svg(figure).decode()
