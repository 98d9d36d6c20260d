"""Pictures show the numbers of the table, and only what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text

from capsbench.presenting.contenders import collect_curves
from capsbench.presenting.contenders import summary as plain_summary
from capsbench.presenting.figures.figure import Picture
from capsbench.presenting.figures.labels import Point, label_points, place_labels
from capsbench.presenting.figures.style import add_styles
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.words import TIMES
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.contents import PICTURES
from capsbench.reporting.parallel import drawing
from capsbench.reporting.sections.headline import (
    accuracy_against_cost,
    accuracy_against_iterations,
    changing_losses,
    training_curves,
)
from tests.making import make_record

Make = Callable[..., Record]


def summary(records: list[Record]) -> pd.DataFrame:
    return add_styles(plain_summary(records))


def legend_of(picture: Picture) -> list[str]:
    return [text.get_text() for legend in picture.figure.legends for text in legend.get_texts()]


@pytest.fixture
def records(capsules: Make, matched: Make) -> list[Record]:
    made = [
        capsules(0.90 + 0.02 * iterations + 0.01 * seed, iterations=iterations, seed=seed, step=10.0 * iterations)
        for iterations in (1, 2, 3)
        for seed in (0, 1, 2)
    ]
    return [*made, *(matched(0.94 + 0.01 * seed, seed=seed, step=2.0, flops=1e6) for seed in (0, 1, 2))]


def test_accuracy_against_iterations_shows_means_intervals_and_the_baseline(records: list[Record]) -> None:
    picture = accuracy_against_iterations(summary(records))
    (axes,) = picture.figure.axes
    bars = [container for container in axes.containers if isinstance(container, ErrorbarContainer)]
    points, intervals = bars[::2], bars[1::2]  # apart, so that the legend shows no bar
    assert [point.lines[0].get_ydata()[0] for point in points] == pytest.approx([93.0, 95.0, 97.0])
    assert len({point.lines[0].get_color() for point in points}) == 3
    low, high = intervals[0].lines[2][0].get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(4.302653 * math.sqrt((1 + 1 / 12) / 3))
    levels = [line for line in axes.lines if line.get_label() == "matched CNN"]
    assert [line.get_ydata()[0] for line in levels] == pytest.approx([95.0])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3"]
    assert legend_of(picture) == [f"em {TIMES}1", f"em {TIMES}2", f"em {TIMES}3", "matched CNN"]


def test_each_data_set_has_its_panel(capsules: Make) -> None:
    table = summary([capsules(dataset=name, iterations=count) for name in ("mnist", "digits") for count in (1, 3)])
    assert [axes.get_title() for axes in accuracy_against_iterations(table).figure.axes] == ["digits", "mnist"]
    assert [axes.get_title() for axes in accuracy_against_cost(table).figure.axes] == [
        "digits",
        "digits",
        "mnist",
        "mnist",
    ]


def test_accuracy_against_cost_labels_every_contender(records: list[Record]) -> None:
    step, flops = accuracy_against_cost(summary(records)).figure.axes
    names = [f"em {TIMES}1", f"em {TIMES}2", f"em {TIMES}3", "matched CNN"]
    for axes in (step, flops):
        assert sorted(text.get_text() for text in axes.texts) == names
        assert axes.get_xscale() == "log"
    points = [container for container in step.containers if container.lines[0] is not None]
    assert [point.lines[0].get_xdata()[0] for point in points] == [10.0, 20.0, 30.0, 2.0]


def test_long_names_stand_in_a_legend(capsules: Make) -> None:
    options = [{"network.stem": 32, "routing.epsilon": epsilon, "routing.floor": 1e-7} for epsilon in (0.1, 0.01)]
    picture = accuracy_against_cost(summary([capsules(options=each, learning_rate=0.1) for each in options]))
    assert legend_of(picture) == []
    others = [capsules(options={**each, "routing.floor": 1e-6, "routing.final_beta": 3.0}) for each in options]
    picture = accuracy_against_cost(summary([capsules(options=each, learning_rate=0.1) for each in options] + others))
    assert len(legend_of(picture)) == 4
    assert not any(axes.texts for axes in picture.figure.axes)


def test_a_data_set_without_any_speed_has_no_panel(capsules: Callable[..., Record]) -> None:
    records = [capsules(), capsules(dataset="mnist", parameters=None)]
    picture = accuracy_against_cost(summary(records))
    assert [axes.get_xlabel() for axes in picture.figure.axes] == [
        "training step (ms per batch)",
        "inference (FLOPs per image)",
    ]


def test_only_the_measured_cost_has_a_panel(records: list[Record]) -> None:
    (axes,) = accuracy_against_cost(summary(records).drop(columns="flops")).figure.axes
    assert axes.get_xlabel() == "training step (ms per batch)"


def test_training_curves_are_means_over_seeds(records: list[Record]) -> None:
    picture = training_curves(summary(records), collect_curves(records))
    accuracy, loss = picture.figure.axes
    assert accuracy.lines[0].get_ydata() == pytest.approx([60.0, 90.0])
    assert loss.lines[0].get_ydata() == pytest.approx([0.9, 0.3])
    assert legend_of(picture) == [f"em {TIMES}1", f"em {TIMES}2", f"em {TIMES}3", "matched CNN"]


def test_a_loss_that_grows_by_itself_is_told_of_where_it_is_shown(capsules: Make, matched: Make) -> None:
    em, cnn = capsules(), matched(loss="cross-entropy")
    changing = changing_losses(Material.from_records([em, cnn], Store(Path("nowhere"))).cells)
    assert list(changing) == [em.cell.contender]
    with_em, without = (
        training_curves(summary(shown), collect_curves(shown), changing).caption for shown in ([em, cnn], [cnn])
    )
    assert changing[em.cell.contender] in with_em
    assert changing[em.cell.contender] not in without


def test_a_network_that_is_not_about_classes_has_a_curve_of_its_validation_loss(capsules: Make) -> None:
    history = [{"epoch": epoch, "loss": 9.0 / epoch, "validation_loss": 8.0 / epoch} for epoch in (1, 2)]
    unsupervised = dict(network="transforming-autoencoder", routing=None, iterations=None, loss=None)
    other = capsules(None, **unsupervised, dataset="mnist")
    other = make_record(other.cell, other.rows, history=history)
    (of_loss, loss) = training_curves(summary([other]), collect_curves([other])).figure.axes
    assert of_loss.get_ylabel() == "validation loss"
    assert of_loss.lines[0].get_ydata() == pytest.approx([8.0, 4.0])
    assert loss.lines[0].get_ydata() == pytest.approx([9.0, 4.5])
    both = [capsules(), other]
    picture = training_curves(summary(both), collect_curves(both))
    assert [(axes.get_title(), len(axes.lines)) for axes in picture.figure.axes] == [
        *(("digits", 1), ("digits", 1)),  # of the validation accuracy and the training loss
        *(("mnist", 1), ("mnist", 1)),  # of the validation loss and the training loss
    ]
    assert legend_of(picture) == [f"em {TIMES}3", "transforming-autoencoder"]
    FigureCanvasAgg(picture.figure).draw()


def test_rows_that_differ_in_an_option_have_names_that_differ(capsules: Make) -> None:
    options = [{"network.stem": 32, "routing.epsilon": epsilon} for epsilon in (0.1, 0.01)]
    table = summary([capsules(options=each, size=size) for each in options for size in ("tiny", "small")])
    assert table["series"].tolist() == [
        f"em, {size}, epsilon {epsilon}" for size in ("tiny", "small") for epsilon in (0.01, 0.1)
    ]


def test_baselines_of_several_networks_have_names_that_differ(capsules: Make, matched: Make) -> None:
    other = dict(network="capsnet", routing="dynamic", loss="margin")
    records = [capsules(iterations=1), capsules(), matched(), capsules(0.98, 61_000, **other), matched(0.97, to=61_000)]
    # Only em was trained at several numbers of iterations.
    assert legend_of(accuracy_against_iterations(summary(records))) == [
        f"em {TIMES}1",
        f"em {TIMES}3",
        "matched CNN to 28,000",
    ]


def test_one_routing_in_two_networks_is_named_with_the_network(capsules: Make) -> None:
    table = summary([capsules(network=name) for name in ("capsnet", "matrix-capsules")])
    assert table["series"].tolist() == ["capsnet em", "matrix-capsules em"]


def test_iterations_are_shown_where_a_network_has_several(capsules: Make, matched: Make) -> None:
    for records in ([matched()], [capsules(), matched()]):
        with pytest.raises(NoDataError):
            accuracy_against_iterations(summary(records))


def test_one_epoch_is_no_curve(capsules: Make) -> None:
    record = capsules()
    record = make_record(record.cell, record.rows, history=[{"epoch": 1, "loss": 2.0, "validation_accuracy": 0.5}])
    with pytest.raises(NoDataError):
        training_curves(summary([record]), collect_curves([record]))


def test_drawing_leaves_a_notebook_as_it_was(records: list[Record], tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    material = Material.from_records(records, Store(tmp_path))
    with drawing(PICTURES, material, ["svg"]) as wait:
        wait()
    PICTURES["training-curves"](material)
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


def test_names_of_crowded_points_do_not_overlap() -> None:
    figure = Figure(figsize=(5, 4))
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    assert label_points([(axes, [Point(0.5 + 0.01 * i, 0.5, f"contender {i}", "black") for i in range(8)])])
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]  # without the lines to the points
    assert len(boxes) == 8
    # A pixel a side is left to the rounding of glyphs.
    assert not any(one.padded(-1).overlaps(other.padded(-1)) for one, other in combinations(boxes, 2))


def test_names_stay_off_error_bars(capsules: Make, matched: Make) -> None:
    figure = Figure(figsize=(3.5, 2.5))
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    points = [Point(0.3, 0.5, "contender", "black", 0.2), Point(0.33, 0.45, "contender", "black", 0.4)]
    assert [label.covered for label in place_labels(axes, points)] == pytest.approx([0.0, 0.0])


def test_names_that_would_cover_one_another_stand_in_a_legend(capsules: Make) -> None:
    apart, crowded = (
        [
            capsules(0.9 + spread * seed, seed=seed, iterations=count, flops=1e5 * wide**count, step=wide**count)
            for count in range(1, 9)
            for seed in (0, 1)
        ]
        for wide, spread in ((2.0, 0.0), (1.1, 0.1))  # bars as high as the panel leave no room between them
    )
    readable, listed = (accuracy_against_cost(summary(shown)) for shown in (apart, crowded))
    assert legend_of(readable) == []
    assert {text.get_text() for axes in readable.figure.axes for text in axes.texts} == {*legend_of(listed)}
    assert legend_of(listed) == [f"em {TIMES}{count}" for count in range(1, 9)]
    assert not any(axes.texts for axes in listed.figure.axes)
