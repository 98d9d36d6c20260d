"""Who is ahead on what, and of whom that can be said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from capsbench.reporting.section import Material, NoDataError
from capsbench.reporting.style import TIMES
from capsbench.reporting.winners import SECTION
from capsbench.store import Record, Row, Store

Make = Callable[..., Record]


def _table(records: list[Record]) -> pd.DataFrame:
    return SECTION.table(Material.of(records, Store(Path("nowhere"))))


def test_the_best_mean_is_first_and_only_what_is_shown_to_be_behind_is(capsules: Make, matched: Make) -> None:
    accuracy = {1: (0.90, 0.91, 0.90), 2: (0.95, 0.97, 0.955), 3: (0.96, 0.96, 0.9605)}
    records = [
        capsules(value, iterations=count, seed=seed)
        for count, own in accuracy.items()
        for seed, value in enumerate(own)
    ]
    (row,) = _table(records).to_dict("records")
    assert row["first_name"] == f"em {TIMES}3"
    assert row["not_told_apart"] == f"em {TIMES}2"
    assert row["behind"] == f"em {TIMES}1"
    assert row["behind_by"] == pytest.approx(5.68, abs=0.01)


def test_of_one_seed_nothing_is_told_apart(capsules: Make) -> None:
    (row,) = _table([capsules(0.99, iterations=3), capsules(0.5, iterations=1)]).to_dict("records")
    assert (row["first_name"], row["not_told_apart"], row["behind"]) == (f"em {TIMES}3", f"em {TIMES}1", "")
    assert row["cheapest"] == ""


def test_the_cheapest_is_one_that_is_not_told_apart_from_the_first(capsules: Make) -> None:
    cheap = [capsules(value, seed=seed, iterations=1, flops=1e6) for seed, value in enumerate((0.95, 0.96, 0.94))]
    dear = [capsules(value, seed=seed, iterations=3, flops=3e6) for seed, value in enumerate((0.96, 0.95, 0.95))]
    (row,) = _table([*cheap, *dear]).to_dict("records")
    assert row["first_name"] == f"em {TIMES}3"
    assert row["cheapest"] == f"em {TIMES}1, 1.0M"


def test_of_an_error_the_least_is_first(capsules: Make) -> None:
    def novel(error: float, **fields: int) -> Record:
        record = capsules(0.9, **fields)
        return replace(record, rows=[*record.rows, Row("viewpoint", "error", "novel", error, "fraction")])

    table = _table([novel(0.3, iterations=1), novel(0.2, iterations=3)])
    (row,) = table[table["measured"] == "error on novel viewpoints %"].to_dict("records")
    assert (row["first_name"], row["value"]) == (f"em {TIMES}3", pytest.approx(20.0))


def test_networks_of_other_budgets_do_not_compete(capsules: Make) -> None:
    with pytest.raises(NoDataError):
        _table([capsules(epochs=1), capsules(epochs=2)])


def test_many_names_are_counted(capsules: Make) -> None:
    records = [capsules(0.9 + count / 1000, iterations=count) for count in range(1, 9)]
    assert SECTION.readable(_table(records))["not told apart from"].tolist() == [
        f"em {TIMES}7; em {TIMES}6; em {TIMES}5; em {TIMES}4 and 3 more"
    ]
