"""A caption explains what stands there and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from capsbench.presenting.caption import ABOUT_CUT_INTERVALS, About, AboutColumn, spell_caption
from capsbench.presenting.format import CAPTION, parameter_ratios
from capsbench.presenting.images import ImagesTaken
from capsbench.presenting.material import Material
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.reporting.contents import made_sections
from capsbench.reporting.headline import build_headline
from tests.making import FINE, counted, with_rows

Make = Callable[..., Record]
WARPED = ImagesTaken({"light": 500, "full": None}, "warped")


def test_a_sentence_stands_where_its_words_do() -> None:
    caption = (
        "Always.",
        AboutColumn("memory", "Memory: a peak."),
        AboutColumn("step", "Step: a median."),
        About("†", "Unsound."),
    )
    table = pd.DataFrame({"contender": ["memory 2"], "step (ms)": ["3.1"]})
    assert spell_caption(caption, table) == "Always. Step: a median."
    assert spell_caption(caption, table.replace("3.1", "3.1 †")) == "Always. Step: a median. Unsound."


def test_intervals_that_are_cut_are_explained_wherever_they_stand() -> None:
    table = pd.DataFrame({"contender": ["em [own]"], "accuracy %": ["98.9 [97.8, 100.0]"]})
    assert spell_caption("Mean.", table) == f"Mean. {ABOUT_CUT_INTERVALS}"
    assert spell_caption("Mean.", table.replace("98.9 [97.8, 100.0]", "98.9 ± 0.2")) == "Mean."


def test_the_headline_table_explains_the_columns_that_it_has(capsules: Make, matched: Make) -> None:
    material = Material.from_records([capsules(flops=5e5), matched(flops=5e5)], Store(Path("nowhere")))
    table = build_headline(material.summary)
    stand = [
        about.words
        for about in CAPTION
        if isinstance(about, AboutColumn) and any(heading.startswith(about.words) for heading in table.headings)
    ]
    explained = [about.words for about in CAPTION if isinstance(about, AboutColumn) and about.sentence in table.caption]
    assert explained == stand
    assert "seeds needed" not in stand


def test_the_distance_of_attacks_is_explained_where_it_was_measured(capsules: Make) -> None:
    def caption(*more: Row) -> str:
        record = with_rows(capsules(), [*capsules().rows, *more])
        (section,) = [
            section
            for section in made_sections(Material.from_records([record], Store(Path("nowhere"))))
            if section.section.name == "adversarial"
        ]
        return section.caption

    worst = Row("adversarial", "robust accuracy", "Linf, worst case", 0.5, "fraction", 0.05)
    norm = Row("adversarial", "perturbation norm", "L2, cw, scores, mean", 0.7, "distance")
    assert "CW norm" not in caption(worst)
    assert "CW norm" in caption(worst, norm)


def test_the_size_of_each_baseline_is_that_of_its_capsule_network(capsules: Make, matched: Make) -> None:
    small = capsules(0.9, 13_000, **{**matched().cell.model_dump(include={"routing", "iterations", "loss"})},
                     network="cnn-hinton2018", options={})  # fmt: skip
    summary = Material.from_records([capsules(parameters=28_000), matched(), small], Store(Path("nowhere"))).summary
    ratios = parameter_ratios(summary)
    assert ratios["matched"] == pytest.approx((28_012 / 28_000,) * 2)
    assert ratios["cnn-hinton2018"] == pytest.approx((13 / 28,) * 2)
    assert "Vs cnn-hinton2018: 0.46 times" in build_headline(summary).caption


@pytest.mark.parametrize(
    ("setting", "tested", "taken"),
    [("light", 2000, 500), ("light", 360, 360), ("full", 2000, 2000), ("light", None, 500), ("full", None, None)],
)
def test_how_many_images_a_number_is_of(capsules: Make, setting: str, tested: int | None, taken: int | None) -> None:
    record = capsules()
    record = counted(record, **{**FINE, "images": tested}) if tested else record
    rows = [*record.rows, Row("affine", "accuracy", "rotation", 0.5, "fraction", 0.0)]
    record = with_rows(record, rows)
    record = replace(record, measures={**record.measures, f"affine:{setting}": record.measures["affine"]})
    del record.measures["affine"]
    material = Material.from_records([record], Store(Path("nowhere")))
    assert WARPED.count_images(material, "affine") == {"digits": taken}
    assert ("All" if taken is None else str(taken)) in WARPED.describe_images(material, "affine").replace(",", "")
