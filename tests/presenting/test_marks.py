"""Marks of contenders: found in records of any age, and shown wherever the contender stands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from capsbench.presenting.figures.files import render_image
from capsbench.presenting.marks import (
    COLLAPSED,
    MARKS,
    OUTDATED,
    SHARED,
    STILL_IMPROVING,
    find_marks,
    judge_improvement,
)
from capsbench.presenting.material import Material
from capsbench.presenting.words import TIMES
from capsbench.records.record import TRAINING, Failure, Measurement, Record, Row
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
    marked = Material.from_records(records, store).summary["collapsed"]
    return [None if pd.isna(each) else bool(each) for each in marked]


def test_one_seed_is_enough(capsules: Make, store: Store) -> None:
    seeds = [counted(capsules(seed=seed), **FINE) for seed in (0, 1)]
    assert collapsed(seeds, store) == [False]
    assert collapsed([*seeds, counted(capsules(seed=2), **STUCK)], store) == [True]


def test_records_of_before_are_judged_by_the_predictions_that_were_kept(
    capsules: Make, keep: Callable[..., Record], store: Store
) -> None:
    labels = [number % 10 for number in range(200)]
    assert collapsed([keep(capsules(0.1), [3] * 200, labels)], store) == [True]
    assert collapsed([keep(capsules(1.0), labels, labels)], store) == [False]


def test_without_either_it_is_not_known(capsules: Make, store: Store) -> None:
    assert collapsed([capsules(0.1)], store) == [None]
    assert collapsed([capsules(0.1), counted(capsules(seed=1), **FINE)], store) == [None]
    assert collapsed([capsules(0.1), counted(capsules(seed=1), **STUCK)], store) == [True]


def test_images_of_several_labels_are_exempt(capsules: Make, keep: Callable[..., Record], store: Store) -> None:
    pairs = [[number % 10, (number + 1) % 10] for number in range(200)]
    assert collapsed([keep(capsules(0.1), [[3, 4]] * 200, pairs)], store) == [None]


def test_a_network_that_classifies_nothing_is_not_judged(capsules: Make, store: Store) -> None:
    assert collapsed([capsules(None, loss=None)], store) == [None]


RATES = [0.004, 0.011, 0.018, 0.02, 0.019, 0.016, 0.012, 0.008, 0.004, 0.0]
"""Those of a one-cycle schedule of ten epochs."""

FALLING = [0.9, 0.5, 0.28, 0.17, 0.12, 0.085, 0.068, 0.055, 0.052, 0.05]
FLAT = [0.9, 0.06, 0.05, 0.06, 0.05, 0.04, 0.05, 0.06, 0.05, 0.05]


def trained(record: Record, errors: list[float], metric: str = "validation_accuracy") -> Record:
    """The record with a training that was judged so after each epoch."""
    values = [1 - error if metric == "validation_accuracy" else error for error in errors]
    history = [
        {"epoch": number, "loss": 0.1, metric: value, "learning_rate": rate, "seconds": 1.0}
        for number, (value, rate) in enumerate(zip(values, RATES, strict=False), 1)
    ]
    assert record.training is not None
    return replace(record, training=replace(record.training, history=history))


def improving(records: list[Record], store: Store) -> list[bool | None]:
    """Of each contender, whether more training promises more: None where that is not known."""
    marked = Material.from_records(records, store).summary["still_improving"]
    return [None if pd.isna(each) else bool(each) for each in marked]


def test_a_network_still_improves_where_more_training_promises_a_point(capsules: Make, store: Store) -> None:
    """Half of the error would go: of 5 % that is more than a point, of 1.5 % less."""
    assert improving([trained(capsules(0.95), FALLING)], store) == [True]
    assert improving([trained(capsules(0.985), FALLING)], store) == [False]
    assert improving([trained(capsules(0.95), FLAT)], store) == [False]
    assert improving([trained(capsules(0.1), [0.9] * 10)], store) == [False]  # at chance


LATE = [0.9, 0.9, 0.9, 0.9, 0.9, 0.87, 0.82, 0.75, 0.68, 0.62]
"""Falls as the steps become small, after five epochs at the chance of ten classes."""


def test_a_late_onset_is_known_by_the_share_of_the_largest_class(capsules: Make, store: Store) -> None:
    record = counted(capsules(0.4), images=200, predicted=60, labelled=20, right=80)
    assert improving([trained(record, LATE)], store) == [True]
    assert improving([trained(record, [0.6 * error for error in LATE])], store) == [False]  # a plateau that was learned
    assert improving([trained(capsules(0.4), LATE)], store) == [False]  # chance is not on record


def test_all_seeds_of_a_contender_are_judged_together(capsules: Make, store: Store) -> None:
    rising = [trained(capsules(0.95, seed=seed), FALLING) for seed in (0, 1)]
    assert improving([*rising, trained(capsules(0.9, seed=2), FLAT)], store) == [True]
    assert improving([*rising, trained(capsules(0.1, iterations=1), [0.9] * 10)], store) == [False, True]


def test_a_network_that_was_stopped_by_its_validation_accuracy_is_not_still_improving(
    capsules: Make, store: Store
) -> None:
    assert improving([trained(capsules(0.95, stop_at=0.95), FALLING)], store) == [False]
    assert improving([trained(capsules(0.95, stop_at=0.96), FALLING)], store) == [True]
    assert improving([trained(capsules(0.95, patience=1), FALLING[:8])], store) == [False]


def test_a_network_that_classifies_nothing_is_judged_by_a_tenth_of_its_loss(capsules: Make, store: Store) -> None:
    losses = [30 + 200 * error for error in FALLING]
    fields = dict(network="transforming-autoencoder", routing=None, iterations=None, loss=None)
    assert improving([trained(capsules(None, **fields), losses, "validation_loss")], store) == [True]
    assert improving([trained(capsules(None, **fields), [30.0] * 10, "validation_loss")], store) == [False]


def test_without_a_test_accuracy_or_of_a_few_epochs_it_is_not_known(capsules: Make, store: Store) -> None:
    assert improving([trained(capsules(None), FALLING)], store) == [None]
    assert improving([trained(capsules(0.95, epochs=2), FALLING[:2])], store) == [None]
    assert improving([trained(capsules(0.95), [])], store) == [None]


def test_the_mark_stands_beside_the_number(capsules: Make, matched: Make, store: Store) -> None:
    for record in (trained(capsules(0.95), FALLING), trained(matched(0.985), FALLING)):
        store.write(record)
    made = report(store.folder, formats=("md", "csv"))
    assert made.summary["still_improving"].tolist() == [True, False]
    assert made.readable["marks"].tolist() == ["still improving", ""]
    assert pd.read_csv(store.folder / "report" / "table.csv")["still_improving"].tolist() == [True, False]
    parts = {part.name: part for part in made.document.parts}
    for name in ("table", "winners"):
        assert f"{STILL_IMPROVING.sign}: {STILL_IMPROVING.meaning}" in parts[name].table.marks, name


@pytest.mark.usefixtures("without_pictures")
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
    assert meaning in headline.marks
    assert meaning in parts["winners"].table.marks
    assert [each.name for each in made.document.commands] == names
    assert meaning in (store.folder / "report" / "table.md").read_text().replace("\\", "")

    material = Material.from_records(records, store)
    for name in ("training-curves", "accuracy-cost", "accuracy-iterations"):
        picture = PICTURES[name](material)
        assert meaning in render_image(picture, ()).caption, name
    legend = [text.get_text() for text in PICTURES["training-curves"](material).figure.legends[0].get_texts()]
    assert legend == names
    legend = [text.get_text() for text in PICTURES["accuracy-iterations"](material).figure.legends[0].get_texts()]
    assert legend == names


def test_times_that_were_taken_beside_other_jobs_are_marked(capsules: Make) -> None:
    alone, beside = capsules(0.9), capsules(0.9, iterations=1)
    taken = Measurement([Row("speed", "latency p50", "inference", 2.0, "ms")], provenance={SHARED.name: True})
    records = [alone, replace(beside, measures={**beside.measures, "speed:light": taken})]
    found = find_marks(records, lambda measure, cell: {})[SHARED.name]
    assert found.to_dict() == {alone.cell.contender: False, beside.cell.contender: True}


def test_what_failed_when_it_was_trained_anew_is_marked_as_outdated_beside_its_old_numbers(
    capsules: Make, store: Store
) -> None:
    failing = replace(capsules(0.9), failures={TRAINING: Failure("it raised", run=2)})
    for record in (failing, capsules(0.91, seed=1), capsules(0.92, iterations=1)):
        store.write(record)
    made = report(store.folder, formats=("md", "csv"))
    assert made.summary[["iterations", "n", "outdated"]].to_numpy().tolist() == [[1, 1, False], [3, 2, True]]
    assert made.readable["marks"].tolist() == ["", "outdated"]
    assert made.failed == [(failing.cell.title, "it raised")]
    (table,) = (part.table for part in made.document.parts if part.name == "table")
    assert table is not None
    assert table.rows[1][0].endswith(OUTDATED.sign)
    assert f"{OUTDATED.sign}: {OUTDATED.meaning}" in table.marks


def test_marks_differ_in_name_and_sign_and_can_be_printed() -> None:
    assert len({mark.name for mark in MARKS}) == len({mark.sign for mark in MARKS}) == len(MARKS)
    assert all(mark.sign in SPECIAL and len(mark.sign) == 1 for mark in MARKS)


def test_a_name_says_how_many_of_its_seeds_did_not_fail(
    capsules: Make, matched: Make, failed: Make, store: Store
) -> None:
    name = f"em {TIMES}3 (2 of 3 seeds)"
    records = [capsules(0.9, seed=0), capsules(0.91, seed=1), *(matched(0.95, seed=seed) for seed in range(3))]
    records += [failed(seed=2), failed(iterations=7)]
    for record in records:
        store.write(record)
    made = report(store.folder, formats=("csv",))
    assert made.summary[["n", "seeds"]].to_numpy().tolist() == [[2, 3], [3, 3]]
    parts = {part.name: part.table for part in made.document.parts}
    assert [row[0] for row in parts["table"].rows] == [name, "matched CNN"]
    assert [row[parts["table"].headings.index("n")] for row in parts["table"].rows] == ["2 of 3", "3"]
    assert name.replace(f" {TIMES}", f"\u00a0{TIMES}") in parts["winners"].rows[0][-1]
    legend = PICTURES["training-curves"](Material.from_records(records, store)).figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == [name, "matched CNN"]
    # One of which nothing is left has no row, and stands with those that failed.
    reasons = {(each.title.split()[2], *each.seeds): each.reason for each in made.document.failed}
    assert reasons == {("x3", 2): "the loss became nan", ("x7", 0): "the loss became nan"}


def test_searches_for_epochs_judge_by_the_same_rule_with_an_error_of_their_own(capsules: Make) -> None:
    network = trained(capsules(None), FALLING)  # without a test accuracy
    assert judge_improvement([network], 0.05, math.inf) is True
    assert judge_improvement([network], 0.015, math.inf) is False  # half of it is less than a point
    assert judge_improvement([network], None, math.inf) is None
    late = trained(capsules(None), LATE)
    assert judge_improvement([late], 0.6, 0.9) is True
    assert judge_improvement([late], 0.6, math.inf) is False  # chance is not known
    assert judge_improvement([trained(capsules(None, stop_at=0.9), FALLING)], 0.05, math.inf) is False
