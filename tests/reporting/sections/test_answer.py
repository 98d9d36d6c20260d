"""The section of ``--for NAME``: its table as people read it, its picture, and which rows a picture has room for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from capsbench.presenting.figures.forest import ForestRow
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.words import TIMES
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.reporting.answering.comparisons import Result
from capsbench.reporting.sections.answer import (
    FEWEST_RIVALS,
    SECTION,
    choose_rows,
    draw_answer,
    make_panels,
)
from tests.making import with_rows

Make = Callable[..., Record]

VIEWS = Row("viewpoint", "error", "novel", 0, "fraction")


@pytest.fixture
def records(capsules: Make, matched: Make) -> list[Record]:
    made = []
    for seed, value in enumerate((0.9, 0.91, 0.9)):
        for record, better in ((capsules(value, seed=seed), 0.1), (matched(value - 0.5 - seed / 100, seed=seed), 0.0)):
            made.append(with_rows(record, [*record.rows, VIEWS._replace(value=0.5 - better + seed / 1000)]))
        made.append(capsules(value, seed=seed, network="capsnet", routing="dynamic", epochs=30))
    return made


def material_of(records: list[Record], name: str = "em") -> Material:
    return replace(Material.from_records(records, Store(Path("nowhere"))), asked=name)


def test_a_row_has_differences_and_ratios_of_costs(records: list[Record]):
    matched, dynamic = SECTION.readable(SECTION.table(material_of(records))).to_dict("records")
    assert matched["against"] == "matched CNN"
    assert matched["test accuracy"].startswith("+51.0 ± ")
    assert matched["test accuracy"].endswith("*")
    assert matched["error on novel viewpoints"].startswith("-10.0")
    assert matched[f"{TIMES} parameters"] == "1.0"
    assert dynamic["test accuracy"] == "+0.0 (not tested)"
    assert dynamic["error on novel viewpoints"] == ""


def test_several_contenders_are_told_apart(records: list[Record], capsules: Make):
    others = [capsules(seed=seed, dataset="mnist") for seed in range(3)]
    others += [capsules(seed=seed, dataset="mnist", network="capsnet", routing="dynamic") for seed in range(3)]
    strings = SECTION.readable(SECTION.table(material_of([*records, *others])))
    assert strings["contender"].tolist() == [
        f"em {TIMES}3 on digits, tiny, 10 epochs, not tuned",
        "",
        f"em {TIMES}3 on mnist, tiny, 10 epochs, not tuned",
    ]
    assert len(SECTION.statements(SECTION.table(material_of([*records, *others])))) == 2


def test_a_contender_alone_has_a_statement_and_no_table(capsules: Make):
    table = SECTION.table(material_of([capsules()]))
    assert SECTION.readable(table).empty
    assert len(SECTION.statements(table)) == 1
    with pytest.raises(NoDataError):
        draw_answer(material_of([capsules()]))


def test_the_picture_has_a_row_a_number_and_rival(records: list[Record]):
    picture = draw_answer(material_of(records))
    (axes,) = picture.figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["matched CNN", f"dynamic {TIMES}3", "matched CNN"]
    assert f"em {TIMES}3" in picture.title
    assert "intervals" in picture.caption


def row(**fields: Any) -> dict[str, Any]:
    number = {
        "rival": "a",
        "rival_name": "a",
        "measured": "x %",
        "difference": 2.0,
        "ci95": 1.0,
        "result": Result.BETTER,
    }
    return {**number, "higher_is_better": True, **fields}


def test_a_better_result_is_on_the_right(records: list[Record]):
    rows = [row(), row(measured="error %", difference=-3.0, higher_is_better=False), row(measured="d (px)", result="x")]
    points, pixels = make_panels(rows, "title")
    assert [block.title for block in points.blocks] == ["x", "error"]
    assert [drawn for block in points.blocks for drawn in block.rows] == [
        ForestRow("a", 2.0, 1.0, 3.0, Result.BETTER),
        ForestRow("a", 3.0, 2.0, 4.0, Result.BETTER),
    ]
    assert (points.unit, pixels.unit, points.title) == ("points", "px", "title")


def test_what_was_not_tested_has_no_interval():
    ((block,),) = (panel.blocks for panel in make_panels([row(result=Result.NOT_TESTED)], ""))
    assert math.isnan(block.rows[0].low)
    assert math.isnan(block.rows[0].high)


def test_a_picture_has_the_first_rivals():
    rows = [row(rival=str(rival), measured=measured) for rival in range(9) for measured in ("x %", "y %")]
    assert len(choose_rows(rows, 12)) == 2 * 5  # five rows and a heading for each number
    assert len(choose_rows(rows, 1)) == 2 * FEWEST_RIVALS
    assert choose_rows(rows, 100) == rows
