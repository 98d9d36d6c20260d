"""The sections on warped images, novel viewpoints and overlapping objects show the numbers of the records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from matplotlib.colors import to_hex
from torch import Tensor

from capsbench.data.warps import FAMILIES
from capsbench.measures.affine.section import MOST_LINES, MOST_SHOWN, SECTION, draw_accuracy_curves, draw_examples
from capsbench.measures.overlap.section import SECTION as OVERLAP
from capsbench.measures.viewpoint.section import SECTION as VIEWPOINT
from capsbench.presenting.figures.style import PAPER
from capsbench.presenting.material import Material, NoDataError
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from tests.making import with_rows

Make = Callable[..., Record]


def measured(record: Record, lost: float) -> Record:
    """A record whose accuracy falls from 0.9 by ``lost`` at half of each family's largest level, and once more at that."""
    rows = [
        row
        for name, family in FAMILIES.items()
        for row in (
            *(
                Row("affine", "accuracy", name, 0.9 - part * lost, "fraction", part * family.largest / 2)
                for part in range(3)
            ),
            Row("affine", "area under the curve", name, 0.9 - lost, "fraction"),
            Row("affine", "retained accuracy", name, (0.9 - lost) / 0.9, "ratio"),
        )
    ]
    return with_rows(record, [*record.rows, *rows])


@pytest.fixture
def records(capsules: Make, matched: Make) -> list[Record]:
    return [*(measured(capsules(seed=seed), 0.1 + 0.01 * seed) for seed in (0, 1, 2)), measured(matched(), 0.3)]


def test_the_table_has_areas_and_intervals(records: list[Record], tmp_path: Path) -> None:
    table = SECTION.table(Material.from_records(records, Store(tmp_path)))
    shown = SECTION.readable(table)
    assert list(shown) == ["name", "n", "unwarped %", *(f"{name} %" for name in FAMILIES)]
    assert shown["name"].tolist() == ["em \N{MULTIPLICATION SIGN}3", "matched CNN"]
    assert shown["unwarped %"].tolist() == ["90.0 ± 0.7", "90.0"]  # 4.3027 * 0.01 / sqrt(12 * 3), of rounding to 1/100
    assert shown["shear %"].tolist() == ["79.0 ± 2.6", "60.0"]  # 4.3027 * sqrt(1 / 3 + 1 / 36)
    assert table["projective retained %"].tolist() == pytest.approx([100 * 0.79 / 0.9, 100 * 0.6 / 0.9])


def test_several_data_sets_are_told_apart(capsules: Make, tmp_path: Path) -> None:
    both = [measured(capsules(dataset=name), 0.1) for name in ("digits", "mnist")]
    material = Material.from_records(both, Store(tmp_path))
    shown = SECTION.readable(SECTION.table(material))
    assert shown["name"].tolist() == [f"{name}: em \N{MULTIPLICATION SIGN}3" for name in ("digits", "mnist")]
    figure = draw_accuracy_curves(material).figure
    assert len(figure.axes) == 16
    assert {axes.get_ylabel() for axes in figure.axes} == {"", "digits: accuracy (%)", "mnist: accuracy (%)"}
    assert [len(axes.lines) for axes in figure.axes] == [1] * 16


def test_curves_have_the_means_at_levels_that_people_read(records: list[Record], tmp_path: Path) -> None:
    figure = draw_accuracy_curves(Material.from_records(records, Store(tmp_path))).figure
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert list(panels) == list(FAMILIES)
    levels = {
        "rotation": [0, 30, 60],
        "translation": [0, 12.5, 25],
        "scale": [1, 1.25, 1.5],
        "shear": [0, 0.3, 0.6],
        "projective": [0, 50, 100],
    }
    for name, expected in levels.items():
        em, cnn = panels[name].lines
        assert list(em.get_xdata()) == pytest.approx(expected)
        assert list(em.get_ydata()) == pytest.approx([90, 79, 68])
        assert list(cnn.get_ydata()) == pytest.approx([90, 60, 30])
        band, none = panels[name].collections  # the CNN has one seed
        assert none.get_paths() == []
        rounding = 1 / 36  # of multiples of 1 %, over three seeds
        assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(90 + 4.3027 * rounding**0.5, abs=1e-2)
        assert band.get_paths()[0].vertices[:, 1].min() == pytest.approx(
            68 - 4.3027 * (4 / 3 + rounding) ** 0.5, abs=1e-2
        )


def picture(right: bool, labels: Tensor, channels: int = 1, seed: int = 0) -> dict[str, Tensor]:
    """What the measure keeps, of images of noise; all that is warped is classified right or wrong."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1 + 2 * len(FAMILIES), len(labels), channels, 6, 5)
    predictions = labels.expand(shape[0], *labels.shape).clone()
    predictions[1:] += 0 if right else 10
    return {
        "picture.images": torch.randint(256, shape, generator=generator).to(torch.uint8),
        "picture.labels": labels.to(torch.int32),
        "picture.predictions": predictions.sort(dim=-1).values.to(torch.int32) if labels.dim() == 2 else predictions,
    }


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("labels", [torch.arange(4), torch.tensor([[1, 0], [2, 5]])])
def test_images_stand_above_who_is_right(records: list[Record], tmp_path: Path, labels: Tensor, channels: int) -> None:
    store = Store(tmp_path)
    for record, right in zip(records, (True, True, False, False), strict=True):
        store.write_tensors(store.kept_path("affine", record.cell.id), picture(right, labels, channels))
    material = Material.from_records(records, store)
    (axes,) = draw_examples(material).figure.axes
    lines, width = min(MOST_LINES, len(labels)), 30  # noise 5 pixels wide, each enlarged six times
    (image,) = axes.images
    pixels = torch.as_tensor(image.get_array())
    tiles = picture(True, labels, channels)["picture.images"]
    inside = pixels[3 : 36 * lines : 6, 3::6]  # a pixel each of the first line's first image, and what is right of it
    first = tiles[0, 0] if channels == 3 else tiles[0, 0, :1].expand(3, -1, -1)
    assert inside[:6, :5, :3].equal(first.permute(1, 2, 0))
    assert pixels[0, width - 1, 3] == 255
    assert pixels[0, width, 3] == 0  # a gap
    assert (pixels[..., 3] > 0).sum() == 17 * lines * 36 * width
    # Filled and hollow marks of each contender: most seeds of the first are right, the only one of the second is wrong.
    marks = [
        (len(line.get_xdata()), to_hex(line.get_color()), to_hex(line.get_markerfacecolor())) for line in axes.lines
    ]
    em, cnn = material.summary["color"]
    assert marks == [
        *((17 * lines, em, em), (0, em, PAPER)),
        *((lines, cnn, cnn), (16 * lines, cnn, PAPER)),
    ]


def test_images_of_other_settings_are_left_out(records: list[Record], tmp_path: Path) -> None:
    store = Store(tmp_path)
    for record, seed in zip(records, (0, 0, 0, 1), strict=True):
        store.write_tensors(store.kept_path("affine", record.cell.id), picture(True, torch.arange(3), seed=seed))
    (axes,) = draw_examples(Material.from_records(records, store)).figure.axes
    assert len(axes.lines) == 2


def test_no_more_contenders_than_fit_below_an_image(capsules: Make, tmp_path: Path) -> None:
    store = Store(tmp_path)
    many = [measured(capsules(iterations=1 + count), 0.1) for count in range(MOST_SHOWN + 2)]
    for record in many:
        store.write_tensors(store.kept_path("affine", record.cell.id), picture(True, torch.arange(2)))
    drawn = draw_examples(Material.from_records(many, store))
    assert len(drawn.figure.axes[0].lines) == 2 * MOST_SHOWN
    assert f"{MOST_SHOWN} of {MOST_SHOWN + 2} in all; " in drawn.caption


def test_without_what_is_needed_there_is_neither_table_nor_picture(
    records: list[Record], capsules: Make, tmp_path: Path
) -> None:
    nothing = Material.from_records([capsules()], Store(tmp_path))
    needed = {
        SECTION.table: "affine",
        VIEWPOINT.table: "viewpoint",
        OVERLAP.table: "overlap",
        draw_accuracy_curves: "affine",
    }
    for make, measure in [*needed.items(), (draw_examples, "affine")]:
        with pytest.raises(NoDataError) as caught:
            make(nothing)
        assert caught.value.missing == measure
    with pytest.raises(NoDataError) as caught:
        draw_examples(Material.from_records(records, Store(tmp_path)))
    assert caught.value.missing == "warped images"


def test_viewpoints_and_overlapping_objects(capsules: Make, tmp_path: Path) -> None:
    errors = {"familiar": 0.1, "novel": 0.25, "difference": 0.15}
    rows = [Row("viewpoint", "error", name, error, "fraction") for name, error in errors.items()]
    rows.append(Row("viewpoint", "error", "ratio", 2.5, "ratio"))
    found = {("error", "image"): 0.3, ("error", "object"): 0.2, ("accuracy", "at least one found"): 0.9}
    rows += [Row("overlap", metric, condition, value, "fraction") for (metric, condition), value in found.items()]
    material = Material.from_records([with_rows(capsules(), rows)], Store(tmp_path))
    viewpoint = VIEWPOINT.readable(VIEWPOINT.table(material)).iloc[0].to_dict()
    assert viewpoint == {
        "name": "em \N{MULTIPLICATION SIGN}3",
        "n": "1",
        "novel %": "25.0",
        "familiar %": "10.0",
        "difference %": "15.0",
    }
    overlap = OVERLAP.readable(OVERLAP.table(material)).iloc[0].to_dict()
    assert overlap["image error %"] == "30.0"
    assert overlap["object error %"] == "20.0"
    assert overlap["one found %"] == "90.0"
