"""The benchmark's table and pictures show its rows, and say why a number is missing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from capsbench.benching.kernels_report import (
    FACTS,
    build_page,
    build_table,
    draw_pictures,
    format_duration,
    format_factor,
    list_defects,
    read_facts,
    to_readable,
    write_partial,
    write_report,
)
from capsbench.errors import Kind, UsageError
from capsbench.presenting.words import TIMES
from capsbench_kernels.bench import COLUMNS, PASSES

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def row() -> Make:
    def make(contender: str = "broadcast", seconds: float | None = 0.4, **changed: Any) -> dict[str, Any]:
        made = dict.fromkeys([*COLUMNS, *FACTS])
        made |= dict(layer="sabour-digitcaps", routing="dynamic", batch=32, problems=32, children=1152, parents=10)
        made |= {"rows": 1, "depth": 8, "columns": 16, "iterations": 3, "dtype": "float32", "contender": contender}
        made |= {"pass": "forward", "status": "ok", "peak_bytes_floor": 2**20, "bytes_floor": 1, "flops_floor": 1}
        made |= dict(floor_s=0.01, peak_flops_per_s=1.5e11, peak_bytes_per_s=2e10, python="3.13", torch="2.15")
        made |= dict(device="cpu", threads=2, processor="A Processor", commit="abc", dirty=True)
        if seconds is not None:
            made |= dict(median_s=seconds, p20_s=0.9 * seconds, p80_s=1.2 * seconds, n=7, error=1e-6)
            made |= dict(ratio=seconds / 0.4, peak_bytes=2**20 * 400 * seconds, floor_fraction=0.01 / seconds)
        return made | changed

    return make


@pytest.fixture
def rows(row: Make) -> list[dict[str, Any]]:
    """One case: forward twice as fast as both passes; the fourth contender wrong, the last not available."""
    made = []
    for pass_, part in zip(PASSES, (0.5, 1.0), strict=True):
        made += [
            row(seconds=0.4 * part, ratio=1.0, **{"pass": pass_}),
            row("broadcast-compiled", 0.1 * part, ratio=0.25, compile_s=6.4, **{"pass": pass_}),
            row("cpu", 0.02 * part, ratio=0.05, **{"pass": pass_}),
            row("reference", None, status="wrong: gradient of weights: off by 0.1", **{"pass": pass_}),
            row("triton", None, status="unavailable: 'triton' cannot run here", **{"pass": pass_}),
        ]
    return made


def test_the_readable_table_has_both_passes_side_by_side(rows: list[dict[str, Any]]) -> None:
    shown = to_readable(build_table(rows)).set_index("contender")
    assert list(shown.index) == ["broadcast", "broadcast-compiled", "cpu", "reference", "triton"]
    assert shown.loc["broadcast", "forward + backward"] == "400 ms"
    assert shown.loc["cpu", "forward"] == f"10.0 ms (20{TIMES})"
    assert shown.loc["cpu", "forward + backward"] == f"20.0 ms (20{TIMES})"
    assert shown.loc["cpu", "memory"] == "8.0 MiB"
    assert shown.loc["cpu", "of peak"] == "50 %"
    assert shown.loc["cpu", "n"] == "7, 7"
    assert shown.loc["broadcast-compiled", "note"] == "compiled in 13 s"
    assert shown.loc["reference", "note"] == "wrong: gradient of weights: off by 0.1"
    assert (shown.loc[["reference", "triton"], ["n", "forward", "forward + backward", "memory"]] == "").all(axis=None)


def test_a_pass_without_memory_is_noted_beside_the_other_ones_time(row: Make) -> None:
    both = row("cpu", None, status="out of memory", **{"pass": "forward+backward"})
    (line,) = to_readable(build_table([row("cpu", 0.01), both])).to_dict("records")
    assert line["note"] == "forward+backward: out of memory"
    assert line["forward"].startswith("10.0 ms")


def test_the_page_says_what_is_meant_and_where_the_numbers_are_from(rows: list[dict[str, Any]]) -> None:
    text = build_page(build_table(rows), ["command: `capsbench kernels bench`"])
    assert "- command: `capsbench kernels bench`" in text
    assert "A Processor, device cpu, 2 threads" in text
    assert "150 GFLOP/s in a float32 matrix product, 20 GB/s in a copy" in text
    assert "commit: abc with uncommitted changes" in text
    assert "median of n runs" in text


def test_defects_name_wrong_and_failed_contenders_once(rows: list[dict[str, Any]]) -> None:
    wrong = "sabour-digitcaps, batch 32, float32: reference: wrong: gradient of weights: off by 0.1"
    assert list_defects(rows) == [wrong]


def test_the_pictures_show_every_time_and_say_who_has_none(rows: list[dict[str, Any]]) -> None:
    figures = draw_pictures(build_table(rows))
    assert list(figures) == ["kernels-time", "kernels-memory"]
    (axes,) = figures["kernels-time"].figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "broadcast", "broadcast-compiled", "cpu", "reference",
    ]  # fmt: skip
    said = [text.get_text() for text in axes.texts]
    assert said.count(f"20{TIMES}") == 2
    assert "no number: wrong" in said
    points = [container.lines[0].get_xdata() for container in axes.containers]
    assert sorted(value for line in points for value in line) == pytest.approx([10, 20, 50, 100, 200, 400])


@pytest.mark.parametrize("axis", ["batch", "children", "parents", "iterations"])
def test_what_is_swept_has_a_picture_with_a_line_a_contender(row: Make, axis: str) -> None:
    made = [
        row(name, 0.1 * value * scale, **{axis: value, "pass": pass_})
        for value, pass_, (name, scale) in product((1, 4, 16), PASSES, (("broadcast", 1.0), ("cpu", 0.1)))
    ]
    (axes,) = draw_pictures(build_table(made))[f"kernels-{axis}"].figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "4", "16"]
    lines = {container.get_label(): list(container.lines[0].get_ydata()) for container in axes.containers}
    assert lines == {"broadcast": pytest.approx([100, 400, 1600]), "cpu": pytest.approx([10, 40, 160])}


def test_what_was_interrupted_between_the_passes_has_its_pictures(row: Make) -> None:
    made = [row(name, 0.1, batch=batch) for batch in (1, 2) for name in ("broadcast", "cpu")]
    assert list(draw_pictures(build_table(made))) == ["kernels-time", "kernels-memory"]
    assert set(to_readable(build_table(made))["forward + backward"]) == {""}


def test_no_text_covers_another(rows: list[dict[str, Any]], row: Make) -> None:
    others = [{**each, "layer": "hinton-convcaps1-small", "batch": 64} for each in rows]
    for picture in draw_pictures(build_table([*rows, *others])).values():
        figure = picture.figure
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw_without_rendering()
        texts = [*figure.legends[0].get_texts()]
        for axes in figure.axes:
            texts += [*axes.texts, axes.title, axes.xaxis.label]
            inside = [
                tick for tick in axes.get_xticklabels() if axes.viewLim.x0 <= tick.get_position()[0] <= axes.viewLim.x1
            ]
            texts += inside
        boxes = [Text.get_window_extent(text, renderer) for text in texts]
        assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
        assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_files_are_written_and_what_an_earlier_report_left_is_gone(
    rows: list[dict[str, Any]], row: Make, tmp_path
) -> None:
    folder = tmp_path / "kernels"
    write_partial(rows[:5], folder)
    assert len(pd.read_csv(folder / "kernels.partial.csv")) == 5
    swept = [row("cpu", 0.1 * batch, batch=batch, **{"pass": pass_}) for batch, pass_ in product((1, 2), PASSES)]
    write_report(swept, folder)
    assert (folder / "kernels-batch.svg").exists()
    assert not (folder / "kernels.partial.csv").exists()

    files = write_report(rows, folder)
    endings = [f"kernels-{name}.{form}" for name, form in product(("time", "memory"), ("png", "svg"))]
    assert sorted(path.name for path in folder.iterdir()) == sorted(["kernels.csv", "kernels.md", *endings])
    assert sorted(files) == sorted(folder.iterdir())
    back = pd.read_csv(folder / "kernels.csv")
    assert list(back.columns) == [*COLUMNS, *FACTS]
    assert back.loc[2, "median_s"] == 0.01


def test_rows_without_a_single_time_are_a_table_without_pictures(row: Make, tmp_path) -> None:
    files = write_report([row("triton", None, status="unavailable: no GPU")], tmp_path)
    assert [path.name for path in files] == ["kernels.csv", "kernels.md"]
    assert "unavailable: no GPU" in (tmp_path / "kernels.md").read_text()


def test_a_folder_that_cannot_be_written_is_a_usage_error(tmp_path) -> None:
    (tmp_path / "a-file").write_text("")
    with pytest.raises(UsageError) as caught:
        write_partial([], tmp_path / "a-file")
    assert (caught.value.kind, caught.value.file) == (Kind.INACCESSIBLE, tmp_path / "a-file")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4.531, "4.53 s"),
        (45.31, "45.3 s"),
        (0.4531, "453 ms"),
        (8.41e-3, "8.41 ms"),
        (4.1e-5, "41.0 µs"),
        (2e-7, "0.20 µs"),
    ],
)
def test_durations_have_three_digits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_factors_have_two_digits() -> None:
    assert [format_factor(number) for number in (0.77, 9.94, 9.96, 1234.0)] == [
        f"0.8{TIMES}", f"9.9{TIMES}", f"10{TIMES}", f"1,234{TIMES}",
    ]  # fmt: skip


def test_the_facts_are_those_of_the_machine() -> None:
    assert set(read_facts("cpu")) == set(FACTS)
