"""The step of a number, from what is on record of its images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from capsbench.presenting.marks import counts_of
from capsbench.presenting.material import Material
from capsbench.presenting.paired import nothing_kept
from capsbench.presenting.steps import Steps
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.reporting.sections.budget import Estimate, groups_of
from capsbench.reporting.sections.winners import SECTION as WINNERS
from capsbench.stats.differences import estimate_interval
from tests.making import counted, with_rows

Make = Callable[..., Record]
TEST = ("digits", "accuracy", "accuracy", "test")
WORST = ("adversarial", "robust accuracy", "Linf, worst case")


def keep(measure: str, name: str, images: int) -> Callable[[str, str], dict[str, NDArray[Any]]]:
    """Arrays as a measure keeps them, of so many images."""
    return lambda of, cell: {name: np.zeros(images)} if of == measure else {}


def test_the_rows_of_a_measure_say_of_how_many_images_it_is(capsules: Make) -> None:
    records = [counted(capsules(seed=seed), images=40, predicted=10, labelled=8, right=32) for seed in range(3)]
    assert Steps(records).of(*TEST) == 1 / 40
    assert Steps(records).of("digits", "accuracy", "majority share", "test") == 1 / 40


def test_else_what_it_kept_of_each_does(capsules: Make) -> None:
    records = [capsules(0.8, seed=seed) for seed in range(3)]
    assert Steps(records).of(*TEST) == 1 / 100  # a guess
    assert Steps(records, keep("accuracy", "label", 40)).of(*TEST) == 1 / 40
    assert Steps(records, keep("accuracy", "label", 12)).of(*TEST) == 1 / 100  # no share of twelve


def robust(record: Record, *shares: float) -> Record:
    """With images that withstand all attacks, at epsilons of 0 and 0.05."""
    return with_rows(
        record,
        [*record.rows, *(Row(*WORST, share, "fraction", at) for at, share in zip((0.0, 0.05), shares, strict=True))],
    )


def test_a_measure_that_says_nothing_may_have_taken_all_test_images(capsules: Make) -> None:
    plain = [counted(capsules(seed=seed), images=40, predicted=10, labelled=8, right=32) for seed in range(3)]
    assert Steps([robust(each, 0.8, 0.5) for each in plain]).of("digits", *WORST) == 1 / 40
    assert Steps([robust(each, 0.8, 0.41) for each in plain]).of("digits", *WORST) == 1 / 100
    assert Steps([robust(each, 0.8, 0.5) for each in plain], keep("adversarial", "index", 20)).of("digits", *WORST) == (
        1 / 20
    )


def test_what_is_no_share_has_none_and_what_nobody_has_is_not_known(capsules: Make) -> None:
    steps = Steps([capsules(seed=seed) for seed in range(3)])
    assert steps.of("digits", "speed", "peak memory", "inference", "MiB") == 0
    assert steps.of("digits", "accuracy", "accuracy", "clean") is None
    assert steps.of("mnist", "accuracy", "accuracy", "test") is None


def test_one_number_has_one_interval_in_tables_contests_and_claims(capsules: Make, store: Store) -> None:
    """Of 40 images, 20 withstand in each seed of one, and 18 to 21 in those of another: neither alone says 40."""
    of_seeds = {1: (0.5, 0.5, 0.5), 3: (0.45, 0.475, 0.525)}
    records = [
        robust(counted(capsules(iterations=count, seed=seed), 40, 10, 8, 32), 0.8, share)
        for count, shares in of_seeds.items()
        for seed, share in enumerate(shares)
    ]
    material = Material.from_records(records, store)
    rows = material.of_measure("adversarial")
    table = material.average_seeds(rows[rows["level"] == 0.05]).set_index("iterations")["ci95"]
    (group,) = groups_of(material)
    for count, shares in of_seeds.items():
        (contender,) = group.find_contenders(iterations=count)
        half = estimate_interval(shares, step=1 / 40)[1]
        assert table[count] == pytest.approx(half)
        assert Estimate.of(group.values(contender, *WORST, 0.05)).half == pytest.approx(100 * half)
    contests = WINNERS.table(material).set_index("measured")
    assert contests.loc["worst case of attacks, L∞ %", "ci95"] == pytest.approx(100 * table[1])
    accuracy = material.summary["accuracy_ci95"]
    assert contests.loc["test accuracy %", "ci95"] == pytest.approx(accuracy[0])
    assert accuracy.tolist() == pytest.approx([100 * estimate_interval([0.8] * 3, step=1 / 40)[1]] * 2)


def test_rows_have_the_steps_of_their_numbers(capsules: Make, store: Store) -> None:
    records = [counted(capsules(seed=seed), images=40, predicted=10, labelled=8, right=32) for seed in range(3)]
    material = Material.from_records(records, store)
    rows = material.with_steps(material.select_rows(pd.Series(True, index=material.rows.index)))
    assert rows.loc[rows["metric"] == "majority share", "step"].tolist() == [1 / 40] * 3
    assert set(rows.loc[rows["unit"] != "fraction", "step"]) == {0.0}


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return Store(tmp_path)


@pytest.mark.parametrize("count", [1e300, 1e10, 40.5, 0.0, -40.0])
def test_a_count_that_no_data_set_has_is_not_known(capsules: Make, count: float) -> None:
    """Files may say anything."""
    named = [
        with_rows(
            capsules(seed=seed), [Row(*TEST[1:], 0.8, "fraction"), Row("accuracy", "images", "test", count, "images")]
        )
        for seed in range(3)
    ]
    assert Steps(named).images("digits", "accuracy", "test") == set()
    assert Steps(named).of(*TEST) == 1 / 100
    shares = [Row("accuracy", name, "test", 0.1, "fraction") for name in ("largest predicted share", "majority share")]
    assert counts_of(with_rows(named[0], [*named[0].rows, *shares]), nothing_kept) is None


@pytest.mark.parametrize("shape", [(), (0,)])
def test_entries_of_no_images_say_nothing(capsules: Make, shape: tuple[int, ...]) -> None:
    records = [capsules(0.8, seed=seed) for seed in range(3)]
    assert Steps(records, lambda measure, cell: {"index": np.zeros(shape)}).of(*TEST) == 1 / 100


@pytest.mark.parametrize("share", [1e300, -0.5])
def test_shares_that_are_none_are_not_counted(capsules: Make, share: float) -> None:
    made = counted(capsules(), images=40, predicted=10, labelled=8, right=32)
    rows = [row._replace(value=share) if row.metric == "majority share" else row for row in made.rows]
    assert counts_of(made, nothing_kept) == (40, 10, 8, 32)
    assert counts_of(with_rows(made, rows), nothing_kept) is None
