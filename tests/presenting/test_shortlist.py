"""A picture shows the most accurate contenders with their baselines, and says what it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from capsbench.presenting.contenders import summary
from capsbench.presenting.figures.style import MARKERS, add_styles
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.shortlist import LEAST, MOST, choose_contenders, choose_most_accurate
from capsbench.presenting.words import TIMES
from capsbench.records.record import Record
from capsbench.records.store import Store

Make = Callable[..., Record]


@pytest.fixture
def records(capsules: Make, matched: Make) -> list[Record]:
    """Twenty networks that are the better the more iterations they have, and the CNN matched to all of them."""
    return [*(capsules(0.7 + count / 100, iterations=count) for count in range(1, 21)), matched(0.5)]


def test_few_are_all_shown_as_they_are(records: list[Record]) -> None:
    table = add_styles(summary(records[:5]))
    shown, left_out = choose_most_accurate(table)
    pd.testing.assert_frame_equal(shown, table)
    assert left_out == ""


def test_of_many_the_best_are_shown_with_their_baseline(records: list[Record]) -> None:
    shown, left_out = choose_most_accurate(add_styles(summary(records)))
    assert shown["label"].tolist() == [
        *(f"em {TIMES}{count}" for count in range(21 - MOST + 1, 21)),
        "matched CNN",
    ]
    assert f" {MOST} of 21 " in left_out
    assert "`capsbench report --where`" in left_out
    assert sorted(shown["marker"]) == sorted(MARKERS)  # told apart, though their places in the table are far


def test_a_network_at_all_its_iterations_may_count_as_one(records: list[Record]) -> None:
    shown, left_out = choose_most_accurate(add_styles(summary(records)), by="series")
    assert len(shown) == 21
    assert left_out == ""


def test_only_what_was_measured_is_chosen_from(records: list[Record]) -> None:
    table = add_styles(summary(records))
    measured = set(table.loc[table["iterations"] <= 3, "contender"])
    assert choose_most_accurate(table, measured)[0]["label"].tolist() == [
        f"em {TIMES}1",
        f"em {TIMES}2",
        f"em {TIMES}3",
    ]


def test_each_data_set_has_its_own_and_fewer_the_more_there_are(capsules: Make) -> None:
    names = ["digits", "mnist", "fashion-mnist", "cifar10", "svhn"]
    records = [capsules(0.9, iterations=count, dataset=name) for name in names for count in range(1, 7)]
    shown, left_out = choose_most_accurate(add_styles(summary(records)))
    assert shown.groupby("dataset").size().to_dict() == dict.fromkeys(names, LEAST)
    assert left_out.startswith(" Shown are the most accurate of each data set's contenders")


def test_the_rows_of_the_chosen_are_averaged(records: list[Record], tmp_path: Path) -> None:
    material = Material.from_records(records, Store(tmp_path))
    chosen = choose_contenders(material, material.of_measure("speed"), "speed")
    assert set(chosen.table["contender"]) == set(chosen.summary["contender"])
    assert chosen.summary["contender"].size == MOST
    with pytest.raises(NoDataError) as caught:
        choose_contenders(material, material.rows[:0], "speed")
    assert caught.value.missing == "speed"
