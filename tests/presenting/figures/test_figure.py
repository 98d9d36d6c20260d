"""Pictures are as wide as a paper's column or page, nothing of them is cut, and the same figure gives the same bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from capsbench.presenting.contenders import summary
from capsbench.presenting.figures.figure import Picture, finish_picture, make_panels
from capsbench.presenting.figures.files import render_files, render_image, render_png, render_svg
from capsbench.presenting.figures.style import (
    COLUMN,
    DPI,
    INK,
    NEUTRALS,
    PAGE,
    PALETTE,
    PAPER,
    STYLE,
    add_styles,
    in_style,
)
from capsbench.presenting.material import Material
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.contents import PICTURES
from capsbench.reporting.sections.headline import accuracy_against_iterations

Make = Callable[..., Record]


@pytest.fixture
def pictures(capsules: Make, matched: Make, tmp_path: Path) -> dict[str, Picture]:
    """Those of six contenders with long names on two data sets."""
    named = [{"network.stem": 32, "routing.epsilon": 0.1 * part} for part in (1, 2, 3, 4, 5)]
    records = [make(dataset=name) for name in ("digits", "mnist") for make in (capsules, matched)]
    records += [capsules(0.9, dataset=name, iterations=1) for name in ("digits", "mnist")]
    records += [capsules(0.9, dataset="mnist", options=options, step=5.0) for options in named]
    material = Material.from_records(records, Store(tmp_path))
    return {name: draw(material) for name, draw in PICTURES.items()}


def test_widths_are_those_of_a_paper_and_nothing_is_cut(pictures: dict[str, Picture]) -> None:
    assert len(pictures) == 4
    for picture in pictures.values():
        figure = picture.figure
        assert figure.get_figwidth() in (COLUMN, PAGE)
        assert Image.open(BytesIO(render_png(figure))).width == round(figure.get_figwidth() * DPI)
        renderer = FigureCanvasAgg(figure).get_renderer()
        outer = figure.get_tightbbox(renderer).transformed(figure.dpi_scale_trans)
        assert figure.bbox.padded(1).contains(outer.x0, outer.y0)
        assert figure.bbox.padded(1).contains(outer.x1, outer.y1)


def test_panels_do_not_reach_into_one_another(pictures: dict[str, Picture]) -> None:
    for picture in pictures.values():
        renderer = FigureCanvasAgg(picture.figure).get_renderer()
        boxes = [axes.get_tightbbox(renderer).padded(-1) for axes in picture.figure.axes]
        boxes += [legend.get_window_extent(renderer) for legend in picture.figure.legends]
        assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])


def test_the_words_stand_beside_and_not_inside(pictures: dict[str, Picture]) -> None:
    for picture in pictures.values():
        assert picture.figure.get_suptitle() == ""
        assert picture.title
        assert picture.caption[0].isupper()
        assert picture.caption.endswith(".")
        assert picture.title not in {text.get_text() for text in picture.figure.findobj(Text)}


def test_svg_has_text_and_colours_that_a_page_can_replace(pictures: dict[str, Picture]) -> None:
    for picture in pictures.values():
        drawing = render_svg(picture.figure).decode()
        assert "<text" in drawing
        assert "test accuracy (%)" in drawing or "validation accuracy (%)" in drawing
        assert "DejaVu Sans', Verdana, sans-serif" in drawing.replace("'Verdana'", "Verdana")
        assert f'width="{72 * picture.figure.get_figwidth():g}pt"' in drawing
        assert set(re.findall(r"(?:fill|stroke): (#\w+)", drawing)) <= {*NEUTRALS, *PALETTE}
        background = re.search(r'<g id="patch_1">(.*?)</g>', drawing, re.DOTALL)
        assert background is not None
        assert "fill: #" not in background[1]


def test_png_is_on_white_and_leaves_the_figure_transparent(pictures: dict[str, Picture]) -> None:
    figure = pictures["accuracy-iterations"].figure
    before = render_svg(figure)
    image = Image.open(BytesIO(render_png(figure)))
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert render_svg(figure) == before


def test_the_same_figure_gives_the_same_bytes(pictures: dict[str, Picture]) -> None:
    first, second = render_files(pictures), render_files(pictures)
    assert first == second
    assert sorted(first) == sorted(f"{name}.{form}" for name in pictures for form in ("png", "svg"))


def test_an_image_has_the_formats_asked_for_and_the_words_of_its_picture(pictures: dict[str, Picture]) -> None:
    picture = pictures["accuracy-iterations"]
    made = render_image(picture, ["svg"])
    assert made.files == {"svg": render_svg(picture.figure)}
    assert (made.title, made.caption, made.width) == (picture.title, picture.caption, picture.figure.get_figwidth())


def test_figures_of_others_are_laid_out_once() -> None:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 2), layout="constrained")
        figure.subplots().set_ylabel("a label")
    assert render_svg(figure) == render_svg(figure)
    assert (
        figure.get_layout_engine() is None or figure.get_layout_engine().__class__.__name__ == "PlaceHolderLayoutEngine"
    )


@mpl.rc_context(STYLE)
def test_a_legend_has_as_many_columns_as_fit() -> None:
    for length, columns in ((2, 4), (40, 1)):
        figure, ((axes,),) = make_panels(1, 1, 1.0, COLUMN)
        for name in "abcd":
            axes.plot([0, 1], [0, 1], label=name * length, color=INK, markerfacecolor=PAPER)
        finish_picture(figure, "A title", "A caption.")
        (legend,) = figure.legends
        assert legend._ncols == columns
        box = legend.get_window_extent(FigureCanvasAgg(figure).get_renderer())
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


@mpl.rc_context(STYLE)
@pytest.mark.parametrize(("name", "width", "most"), [("a", COLUMN, 2), ("a name as long as this {}", PAGE, 4)])
def test_a_tall_legend_gets_the_width_of_a_page(name: str, width: float, most: int) -> None:
    figure, ((axes,),) = make_panels(1, 1, 1.0, COLUMN)
    for number in range(10):
        axes.plot([0, 1], [0, 1], label=name.format(number) if "{" in name else str(number), color=INK)
    finish_picture(figure, "A title", "A caption.")
    (legend,) = figure.legends
    assert figure.get_figwidth() == width
    assert len({round(text.get_window_extent().y0) for text in legend.get_texts()}) <= most
    box = legend.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    assert (box.x0 >= 0, box.x1 <= figure.bbox.x1) == (True, True)


@mpl.rc_context(STYLE)
def test_columns_of_a_legend_are_as_wide_as_their_own_names() -> None:
    figure, ((axes,),) = make_panels(1, 1, 1.0, COLUMN)
    for label in ("long " * 6, "a", "b"):
        axes.plot([0, 1], [0, 1], label=label, color=INK)
    finish_picture(figure, "A title", "A caption.")
    assert figure.legends[0]._ncols == 3


def test_one_seed_has_no_interval_and_the_caption_says_so(capsules: Make) -> None:
    several = [capsules(seed=seed, iterations=count) for seed in (0, 1, 2) for count in (1, 3)]
    assert "One seed each" in accuracy_against_iterations(add_styles(summary(several[:2]))).caption
    assert (
        "means over 3 seeds; bars and bands: 95 % t-intervals"
        in accuracy_against_iterations(add_styles(summary(several))).caption
    )


@pytest.mark.filterwarnings("error")
def test_letters_that_the_font_lacks_are_left_to_whoever_opens_the_picture() -> None:
    cat = "\N{CJK UNIFIED IDEOGRAPH-732B}"
    with in_style():
        figure, ((axes,),) = make_panels(1, 1, 1.0, COLUMN)
        axes.plot([0, 1], [0, 1], label=cat)
        picture = finish_picture(figure, "Cats", "How to read it.")
    assert cat in render_files({"cats": picture})["cats.svg"].decode()
