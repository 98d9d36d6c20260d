"""The section on budget curves: who leads at a budget, from the trials on record."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.words import TIMES
from capsbench.records.record import Row
from capsbench.records.store import Store
from capsbench.records.tuning import Tuning
from capsbench.records.tuning.trials import open_trials
from capsbench.reporting.sections.budgets import SECTION, collect_performances
from capsbench.stats.budgets import estimate_budget_curve
from tests.making import make_capsules, make_failed, make_record

COUNT = 60


def make_search(folder, iterations: int, accuracies: list[float], sampler: str = "random", **fields):
    """Writes the trials of a contender, and returns the result of its search."""
    base = make_capsules(iterations=iterations, **fields)
    tuning = Tuning(base.contender, 0, 1, len(accuracies), 0, 0, sampler=sampler, start={"learning_rate": 0.003})
    for number, accuracy in enumerate(accuracies):
        cell = make_capsules(
            iterations=iterations, learning_rate=0.001 * (number + 1), seed=1_000_000 + number, **fields
        )
        facts = {"role": "trial", "tuning": replace(tuning, trial=number)}
        history = [{"epoch": 1, "loss": 0.1, "validation_accuracy": accuracy}]
        record = make_failed(cell, **facts) if math.isnan(accuracy) else make_record(cell, history=history, **facts)
        open_trials(folder).write(record)
    rows = [Row("accuracy", "accuracy", "test", max(accuracies), "fraction")]
    return make_record(base, rows, tuning=replace(tuning, validation=max(accuracies)))


GOOD = [0.9 + 0.001 * number for number in range(COUNT)]
BAD = [0.5 + 0.001 * number for number in range(COUNT)]


@pytest.fixture
def few_budgets(monkeypatch):
    """To count the trials that decide 20 and 50 takes seconds."""
    monkeypatch.setattr("capsbench.reporting.sections.budgets.BUDGETS", (1, 2, 5, 10))


@pytest.mark.usefixtures("few_budgets")
def test_a_contender_leads_where_its_band_lies_beyond_the_others(tmp_path):
    records = [make_search(tmp_path, 1, GOOD), make_search(tmp_path, 3, BAD)]
    table = SECTION.table(Material.from_records(records, Store(tmp_path)))
    leaders = table[table["leads"]].groupby("budget")["name"].first().to_dict()
    assert set(leaders) == {1, 2, 5}  # 60 trials reach a budget of 7
    assert all(f"{TIMES}1" in name for name in leaders.values())
    undecided = table[table["budget"] == 10]
    assert undecided["may_lead"].all()
    assert undecided["trials_needed"].unique().tolist() == [87]


def test_nobody_leads_by_another_budget_of_training(tmp_path):
    records = [make_search(tmp_path, 1, GOOD, epochs=20), make_search(tmp_path, 3, BAD)]
    table = SECTION.table(Material.from_records(records, Store(tmp_path)))
    assert table["on"].nunique() == 2
    assert not table["leads"].any()
    assert not table["may_lead"].any()


def test_of_very_many_trials_the_first_make_the_curve(tmp_path, monkeypatch):
    monkeypatch.setattr("capsbench.reporting.sections.budgets.MOST_DRAWS", 50)
    records = [make_search(tmp_path, 1, GOOD)]
    ((_, performances),) = collect_performances(Material.from_records(records, Store(tmp_path))).items()
    assert performances == GOOD[:50]


def test_its_numbers_are_those_of_the_curve(tmp_path):
    records = [make_search(tmp_path, 1, GOOD)]
    table = SECTION.table(Material.from_records(records, Store(tmp_path)))
    for row, point in zip(table.itertuples(), estimate_budget_curve(GOOD, [1, 2, 5, 10, 20, 50]).points, strict=True):
        assert row.budget == point.budget
        assert row._7 == pytest.approx(100 * point.estimate, nan_ok=True)
    assert not table["leads"].any()  # nobody to lead


def test_a_failed_trial_counts_as_one(tmp_path):
    records = [make_search(tmp_path, 1, [*GOOD[:5], math.nan])]
    ((_, performances),) = collect_performances(Material.from_records(records, Store(tmp_path))).items()
    assert performances[:5] == GOOD[:5]
    assert math.isnan(performances[5])


def test_a_search_that_lacks_a_trial_has_no_curve(tmp_path):
    records = [make_search(tmp_path, 1, GOOD)]
    trials = open_trials(tmp_path)
    trials.record_path(trials.records()[0][0].cell.id).unlink()
    with pytest.raises(NoDataError):
        SECTION.table(Material.from_records(records, Store(tmp_path)))


def test_a_sampler_that_learns_has_no_curve(tmp_path):
    records = [make_search(tmp_path, 1, GOOD[:5], sampler="tpe")]
    with pytest.raises(NoDataError):
        SECTION.table(Material.from_records(records, Store(tmp_path)))


@pytest.mark.usefixtures("few_budgets")
def test_people_read_who_leads_or_that_it_is_undecided(tmp_path):
    records = [make_search(tmp_path, 1, GOOD), make_search(tmp_path, 3, BAD)]
    strings = SECTION.readable(SECTION.table(Material.from_records(records, Store(tmp_path))))
    said = dict(zip(strings["trials of each"], strings["leads"], strict=True))
    assert f"{TIMES}1" in said["5"]
    assert said["10"] == "undecided"
    needed = dict(zip(strings["trials of each"], strings["can be decided with"], strict=True))
    assert (needed["5"], needed["10"]) == ("", "87 trials")


def test_the_picture_has_a_curve_and_a_band_for_each_contender(tmp_path):
    records = [make_search(tmp_path, 1, GOOD), make_search(tmp_path, 3, BAD)]
    picture = SECTION.pictures["budget-curves"](Material.from_records(records, Store(tmp_path)))
    (axes,) = picture.figure.axes
    assert len(axes.collections) == 2
    assert axes.get_ylim()[1] <= 105


def test_a_band_ends_where_no_trial_limits_its_curve_from_above(tmp_path):
    records = [make_search(tmp_path, 1, GOOD), make_search(tmp_path, 3, BAD)]
    material = Material.from_records(records, Store(tmp_path))
    (axes,) = SECTION.pictures["budget-curves"](material).figure.axes
    reach = estimate_budget_curve(next(iter(collect_performances(material).values()))).reach
    for band in axes.collections:
        assert max(corner for path in band.get_paths() for corner in path.vertices[:, 0]) == reach + 1
