"""Marks of contenders: found in records of any age, and shown wherever the contender stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from capsbench.presenting.figures.files import image
from capsbench.presenting.figures.style import TIMES
from capsbench.presenting.marks import COLLAPSED, MARKS
from capsbench.presenting.material import Material
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.build import report
from capsbench.reporting.contents import PICTURES
from capsbench.reporting.formats.latex import SPECIAL
from tests.making import FINE, STUCK, counted

Make = Callable[..., Record]
SIGN = COLLAPSED.sign


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def keep(store: Store) -> Callable[..., Record]:
    """Puts a record's predictions and labels beside it, as records of any age have them."""

    def put(record: Record, predictions: Iterable[int], labels: Iterable[int]) -> Record:
        arrays = {"prediction": torch.tensor([*predictions]), "label": torch.tensor([*labels])}
        kept = store.write_tensors(store.kept_path("accuracy", record.cell.id), arrays)
        measured = {**record.measures, "accuracy": replace(record.measures["accuracy"], kept=kept)}
        return replace(record, measures=measured)

    return put


def collapsed(records: list[Record], store: Store) -> list[bool | None]:
    """Of each contender, whether it is marked: None where that is not known."""
    marked = Material.of(records, store).summary["collapsed"]
    return [None if pd.isna(each) else bool(each) for each in marked]


def test_one_seed_is_enough(capsules: Make, store: Store) -> None:
    seeds = [counted(capsules(seed=seed), **FINE) for seed in (0, 1)]
    assert collapsed(seeds, store) == [False]
    assert collapsed([*seeds, counted(capsules(seed=2), **STUCK)], store) == [True]


def test_records_of_before_are_judged_by_the_predictions_that_were_kept(
    capsules: Make, keep: Callable[..., Record], store: Store
) -> None:
    labels = [number % 10 for number in range(200)]
    assert collapsed([keep(capsules(), [3] * 200, labels)], store) == [True]
    assert collapsed([keep(capsules(), labels, labels)], store) == [False]


def test_without_either_it_is_not_known(capsules: Make, store: Store) -> None:
    assert collapsed([capsules(0.1)], store) == [None]
    assert collapsed([capsules(0.1), counted(capsules(seed=1), **FINE)], store) == [None]
    assert collapsed([capsules(0.1), counted(capsules(seed=1), **STUCK)], store) == [True]


def test_images_of_several_labels_are_exempt(capsules: Make, keep: Callable[..., Record], store: Store) -> None:
    pairs = [[number % 10, (number + 1) % 10] for number in range(200)]
    assert collapsed([keep(capsules(), [[3, 4]] * 200, pairs)], store) == [None]


def test_a_network_that_classifies_nothing_is_not_judged(capsules: Make, store: Store) -> None:
    assert collapsed([capsules(None, loss=None)], store) == [None]


def test_the_sign_stands_behind_the_name_and_is_explained_wherever_it_stands(
    capsules: Make, matched: Make, store: Store
) -> None:
    records = [
        counted(capsules(iterations=count, seed=seed), **(STUCK if count == 3 else FINE))
        for count in (1, 3)
        for seed in (0, 1, 2)
    ]
    records += [counted(matched(seed=seed), **STUCK) for seed in (0, 1, 2)]
    for record in records:
        store.write(record)
    made = report(store.folder, formats=("html", "md", "csv"))
    assert made.summary["collapsed"].tolist() == [False, True, True]
    assert made.readable["marks"].tolist() == ["", "collapsed", "collapsed"]
    assert pd.read_csv(store.folder / "report" / "table.csv")["collapsed"].tolist() == [False, True, True]

    meaning = f"{SIGN}: {COLLAPSED.meaning}"
    names = [f"em {TIMES}1", f"em {TIMES}3 {SIGN}", f"matched CNN {SIGN}"]
    parts = {part.name: part for part in made.document.parts}
    headline = parts["table"].table
    assert [row[0] for row in headline.rows] == names
    assert headline.marks == [meaning]
    assert parts["winners"].table.marks == [meaning]
    assert [each.name for each in made.document.commands] == names
    assert meaning in (store.folder / "report" / "table.md").read_text().replace("\\", "")

    material = Material.of(records, store)
    for name in ("training-curves", "accuracy-cost", "accuracy-iterations"):
        picture = PICTURES[name](material)
        assert meaning in image(picture, ()).caption, name
    legend = [text.get_text() for text in PICTURES["training-curves"](material).figure.legends[0].get_texts()]
    assert legend == names
    legend = [text.get_text() for text in PICTURES["accuracy-iterations"](material).figure.legends[0].get_texts()]
    assert legend == ["em", f"matched CNN {SIGN}"]


def test_marks_differ_in_name_and_sign_and_can_be_printed() -> None:
    assert len({mark.name for mark in MARKS}) == len({mark.sign for mark in MARKS}) == len(MARKS)
    assert all(mark.sign in SPECIAL and len(mark.sign) == 1 for mark in MARKS)
