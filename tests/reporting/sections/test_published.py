"""Published numbers and records in, verdicts and tables out."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from capsbench.planning.matrix import cells_of
from capsbench.planning.suites import Suite
from capsbench.planning.suites.published import Published
from capsbench.records.cell import Cell
from capsbench.records.record import Record, Row
from capsbench.reporting.sections.published import compare, difference_ci95, judge, readable, table_of
from tests.making import make_failed, make_record

REQUEST: dict[str, Any] = dict(routing="dynamic", iters=[1, 3], epochs=2, baseline="none")
ROW: dict[str, Any] = dict(table="Table 1", row="A", metric="error", value=Decimal("2.5"), source="a paper, Table 1")
EXACT = "000000000"
"""Digits after which there is nothing to be rounded."""


def row(**changes: Any) -> Published:
    return Published(**{**ROW, "where": {"iters": 3}, **changes})


def suite(*rows: Published, **request: Any) -> Suite:
    return Suite("mine", [{**REQUEST, **request}], list(rows))


def record(cell: Cell, accuracy: float, **beside: float) -> Record:
    conditions = {"test": accuracy, **beside}
    rows = [Row("accuracy", "accuracy", name, value, "fraction") for name, value in conditions.items()]
    return make_record(cell, rows)


@pytest.fixture(scope="module")
def run() -> Callable[..., list[Record]]:
    """The records of a request with the given accuracies at 3 iterations, a seed each."""

    def make(*accuracies: float, clean: float = 0.5, **request: Any) -> list[Record]:
        cells = cells_of({**REQUEST, "iters": 3, "seeds": list(range(len(accuracies))), **request})
        return [record(cell, accuracy, clean=clean) for cell, accuracy in zip(cells, accuracies, strict=True)]

    return make


@pytest.mark.parametrize("values", [(2.3, 2.6, 2.9), (2.4, 2.4, 2.5, 2.7)])
@pytest.mark.parametrize("value", ["2.0", "2.3", "2.55", "2.8", "3.2"])
def test_a_mean_and_spread_over_trials_are_compared_as_welchs_test_does(values: tuple[float, ...], value: str) -> None:
    published = row(value=Decimal(value + EXACT), spread=Decimal("0.1"), trials=3)
    test = stats.ttest_ind_from_stats(
        np.mean(values), np.std(values, ddof=1), len(values), float(value), 0.1, 3, equal_var=False
    )
    assert judge(published, values) == ("inside" if test.pvalue > 0.05 else "outside")


@pytest.mark.parametrize("value", ["1.0", "2.0", "2.3", "2.8", "3.8", "4.5"])
def test_a_number_of_one_run_counts_as_one_more_run_of_our_spread(value: str) -> None:
    values = (2.3, 2.6, 2.9)
    # With one number on one side, Student's test has the spread of the other side alone.
    test = stats.ttest_ind(values, [float(value)], equal_var=True)
    assert judge(row(value=Decimal(value + EXACT)), values) == ("inside" if test.pvalue > 0.05 else "outside")


@pytest.mark.parametrize("trials", [None, 3])
def test_nineteen_in_twenty_reproductions_of_the_same_experiment_are_inside(trials: int | None) -> None:
    draw = np.random.default_rng(0)
    inside = 0
    for _ in range(1000):
        ours, theirs = draw.normal(2.5, 0.2, 5), draw.normal(2.5, 0.2, trials or 1)
        spread = None if trials is None else Decimal(f"{theirs.std(ddof=1):.9f}")
        published = row(value=Decimal(f"{theirs.mean():.9f}"), spread=spread, trials=trials)
        inside += judge(published, ours.tolist()) == "inside"
    assert 0.94 < inside / 1000 < 0.97


def test_half_a_unit_of_the_last_digit_is_allowed_for() -> None:
    values = (2.3, 2.5, 2.6)
    exactly = difference_ci95(row(value=Decimal("2.5" + EXACT)), values)
    assert difference_ci95(row(), values) == pytest.approx(exactly + 0.05)


def test_seeds_that_agree_are_an_image_more_or_less() -> None:
    # 97.4 % of 500 images in three seeds: their mean and another run, each rounded to 0.2 points
    assert difference_ci95(row(), (2.6, 2.6, 2.4)) > difference_ci95(row(), (2.6, 2.6, 2.6)) > 0.05


@pytest.mark.parametrize(
    ("value", "verdict"), [("1.3", "outside"), ("1.5", "inside"), ("4.3", "inside"), ("4.5", "outside")]
)
def test_one_seed_has_the_interval_of_its_images(value: str, verdict: str) -> None:
    known = stats.binomtest(12, 480).proportion_ci(method="wilson")  # 2.5 %: from 1.436 to 4.318 %
    assert (100 * known.low, 100 * known.high) == pytest.approx((1.436, 4.318), abs=0.001)
    assert judge(row(value=Decimal(value + EXACT)), (2.5,), 100 / 480) == f"{verdict} (images)"


def test_half_a_unit_is_allowed_for_beside_the_interval_of_images() -> None:
    assert judge(row(value=Decimal("1.4" + EXACT)), (2.5,), 100 / 480) == "outside (images)"
    assert judge(row(value=Decimal("1.4")), (2.5,), 100 / 480) == "inside (images)"


def test_one_seed_of_what_is_no_share_of_images_is_too_few() -> None:
    assert judge(row(), (2.5,), 0.0) == "too few seeds"


def test_a_row_is_measured_by_the_cells_that_it_names(run: Callable[..., list[Record]]) -> None:
    records = run(0.97, 0.98, 0.975, clean=0.9)
    rows = [
        row(),
        row(row="B", metric="accuracy", value=Decimal("90"), condition="clean"),
        row(row="C", where={"iters": 1}),
        row(row="D", where={}, not_reproduced="an ensemble"),
        row(row="E", condition="familiar"),
        row(row="F", where={"iters": 7}),
    ]
    found = compare(suite(*rows), records, {})
    assert [(each.published.row, each.verdict) for each in found] == [
        ("A", "inside"),
        ("B", "inside"),
        ("C", "not run"),
        ("D", "not reproduced: an ensemble"),
        ("E", "not run"),
        ("F", "no cell of the suite is this"),
    ]
    assert found[0].values == pytest.approx([3.0, 2.0, 2.5])
    assert found[1].values == pytest.approx([90.0] * 3)
    assert found[0].at == "tiny"


def test_what_the_run_could_not_have_says_so(run: Callable[..., list[Record]]) -> None:
    left_out = {"digits": "no such file"}
    (found,) = compare(suite(row(where={"iters": 1})), run(0.97), left_out)
    assert found.verdict == "no data here"
    (elsewhere,) = compare(suite(row(where={"iters": 1}), dataset=["digits", "mnist"]), run(0.97), left_out)
    assert elsewhere.verdict == "not run"


def test_failed_cells_count_for_nothing(run: Callable[..., list[Record]]) -> None:
    good, bad = run(0.97, 0.0)
    (found,) = compare(suite(row()), [good, make_failed(bad.cell)], {})
    assert found.values == pytest.approx([3.0])


@pytest.mark.parametrize(
    ("request_", "at", "verdict"),
    [
        ({}, "tiny", "inside"),
        ({"epochs": 3, "lr": 0.01}, "tiny, lr 0.01, epochs 3", "inside"),
        ({"stem": 8}, "tiny, network.stem 8", "inside"),
        ({"train_size": 100}, "tiny, train-size 100", "not comparable (train-size 100)"),
        ({"size": "small"}, "small", "not comparable (size small)"),
        ({"size": "small", "epochs": 3}, "small, epochs 3", "not comparable (size small)"),
        ({"dataset": "mnist", "shift": 0}, "tiny, dataset mnist", "not comparable (dataset mnist)"),
        ({"threads": 2, "backend": "reference", "measure": "accuracy"}, "tiny", "inside"),
    ],
)
def test_what_departs_from_the_suite_is_said_and_what_decides_is_not_compared(
    run: Callable[..., list[Record]], request_: dict[str, Any], at: str, verdict: str
) -> None:
    (found,) = compare(suite(row()), run(0.97, 0.98, **request_), {})
    assert (found.at, found.verdict) == (at, verdict)


def test_an_experiment_that_differs_from_the_papers_is_measured_and_not_judged(
    run: Callable[..., list[Record]],
) -> None:
    (found,) = compare(suite(row(differs="the paper stops earlier")), run(0.97, 0.98), {})
    assert found.verdict == "not comparable (the paper stops earlier)"
    assert len(found.values) == 2


def test_each_size_is_a_line_of_its_own(run: Callable[..., list[Record]]) -> None:
    records = [*run(0.97, 0.98), *run(0.9, size="small")]
    found = compare(suite(row()), records, {})
    assert [(each.at, len(each.values)) for each in found] == [("tiny", 2), ("small", 1)]


def test_the_tables(run: Callable[..., list[Record]]) -> None:
    rows = [
        row(value=Decimal("2.50"), spread=Decimal("0.032"), trials=3),
        row(row="B", metric="accuracy", value=Decimal("79"), condition="clean", unverified=True),
        row(row="C", where={"iters": 1}),
    ]
    found = compare(suite(*rows), run(0.97, 0.98, clean=0.8), {})
    numbers = table_of(found)
    assert numbers[["published", "published_spread", "measured", "difference"]].iloc[0].tolist() == pytest.approx(
        [2.5, 0.032, 2.5, 0.0]
    )
    # 2 and 3: variance 0.5, and 1/12 of rounding to 1 of 100 images; t(0.975; 1) = 12.7062
    assert numbers["measured_ci95"].iloc[0] == pytest.approx(12.7062 * math.sqrt((0.5 + 1 / 12) / 2), abs=1e-4)
    assert numbers["n"].tolist() == [2, 2, 0]
    assert pd.isna(numbers["measured"].iloc[2])
    assert numbers["published_trials"].tolist() == [3, pd.NA, pd.NA]
    shown = readable(found)
    assert shown.columns.tolist() == ["table", "row", "number", "published", "measured", "n", "at", "verdict"]
    assert shown.iloc[:, 2:].to_numpy().tolist() == [
        ["error %", "2.50 ± 0.032", "2.50 [0.00, 9.36]", "2", "tiny", "inside"],
        ["accuracy % (clean)", "79 (unverified)", "80.0 ± 2.6", "2", "tiny", "inside"],
        ["error %", "2.5", "", "", "", "not run"],
    ]


def test_what_is_said_of_a_contender_stands_beside_its_numbers(run: Callable[..., list[Record]]) -> None:
    found = compare(suite(row()), run(0.97, 0.98), {})
    (contender,) = table_of(found)["contender"]
    assert readable(found, {contender: "(2 of 3 seeds) ‡"})["at"].tolist() == ["tiny (2 of 3 seeds) ‡"]


def test_without_published_numbers_there_is_no_table() -> None:
    assert compare(suite(), [], {}) == []
    assert table_of([]).empty
    assert readable([]).empty
