"""The section on equivariance: its table and pictures show the numbers of the records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from capsbench.measures.equivariance.section import SECTION, draw_level_curves, draw_parameters
from capsbench.presenting.material import Material, NoDataError
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from tests.making import with_rows

Make = Callable[..., Record]


def measured(record: Record, consistency: float, r_squared: float) -> Record:
    """A record with the numbers of one family at two levels, and their means."""
    rows = [
        *(
            Row("equivariance", "consistency", "rotation", consistency + 0.1 * at, "fraction", 10.0 * at)
            for at in (-1, 1)
        ),
        *(Row("equivariance", "map error", "rotation, ridge", 0.3, "ratio", at) for at in (10.0, 20.0)),
        Row("equivariance", "consistency", "all", consistency, "fraction"),
        Row("equivariance", "map error", "all, ridge", 0.3, "ratio"),
        Row("equivariance", "R^2", "rotation", r_squared, "fraction"),
        Row("equivariance", "R^2", "all", r_squared, "fraction"),
        Row("equivariance", "R^2", "all, whole layer", 1.0, "fraction"),
    ]
    return with_rows(record, [*record.rows, *rows])


@pytest.fixture
def material(capsules: Make, matched: Make, tmp_path: Path) -> Material:
    records = [measured(capsules(seed=seed), 0.8 + 0.02 * seed, 0.5) for seed in (0, 1, 2)]
    return Material.from_records([*records, measured(matched(), 0.7, -0.25)], Store(tmp_path))


def test_the_table_has_a_row_a_contender_with_intervals(material: Material) -> None:
    table = SECTION.readable(SECTION.table(material))
    assert table["name"].tolist() == ["em \N{MULTIPLICATION SIGN}3", "matched CNN"]
    assert table["n"].tolist() == ["3", "1"]
    assert table["consistency %"].tolist() == [
        "82.0 ± 5.2",
        "70.0",
    ]  # 4.3027 * 2 * sqrt(1 / 3 + 1 / 36), multiples of 2 %
    assert table["R² of the winning pose"].tolist() == [
        "0.50 ± 0.01",
        "-0.25",
    ]  # 4.3027 * 0.01 / sqrt(12 * 3), of rounding to 1/100
    assert "consistency of right predictions %" not in table  # not measured


def test_curves_are_the_means_at_each_level(material: Material) -> None:
    consistency, error = draw_level_curves(material).figure.axes
    assert [list(line.get_ydata()) for line in consistency.lines] == [
        pytest.approx([72.0, 92.0]),
        pytest.approx([60.0, 80.0]),
    ]
    assert list(error.lines[0].get_ydata()) == pytest.approx([0.3, 0.3])
    assert (consistency.get_xlabel(), error.get_ylabel()) == (
        "rotation (degrees)",
        "error of a linear map",
    )


def test_poses_of_each_network_are_a_point_each(material: Material) -> None:
    (axes,) = draw_parameters(material).figure.axes
    points = {line.get_label(): float(line.get_xdata()[0]) for line in axes.lines if len(line.get_xdata()) == 1}
    assert points == pytest.approx({"em \N{MULTIPLICATION SIGN}3": 0.5, "matched CNN": -0.25})
    assert [label.get_text() for label in axes.get_yticklabels()] == list(points)


def test_each_data_set_has_its_panels(capsules: Make, tmp_path: Path) -> None:
    records = [measured(capsules(dataset=name), 0.8, 0.5) for name in ("digits", "mnist")]
    material = Material.from_records(records, Store(tmp_path))
    assert [axes.get_ylabel().partition("\n")[0] for axes in draw_level_curves(material).figure.axes] == [
        "digits"
    ] * 2 + ["mnist"] * 2
    assert SECTION.readable(SECTION.table(material))["name"][0] == "digits: em \N{MULTIPLICATION SIGN}3"


def test_without_the_measure_there_is_no_section(capsules: Make, tmp_path: Path) -> None:
    with pytest.raises(NoDataError) as caught:
        SECTION.table(Material.from_records([capsules()], Store(tmp_path)))
    assert caught.value.missing == "equivariance"
