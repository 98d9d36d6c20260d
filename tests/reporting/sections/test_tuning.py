"""The section on tuning: budget, optimism, chosen settings and edges, from results and trials on record."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.words import TIMES
from capsbench.records.record import Row
from capsbench.records.store import Store
from capsbench.records.tuning import Tuning
from capsbench.records.tuning.convergence import Convergence, Rung
from capsbench.records.tuning.trials import open_trials
from capsbench.reporting.build import report
from capsbench.reporting.sections.tuning import SECTION
from tests.making import make_capsules, make_failed, make_record

START = {"learning_rate": 0.003}
BASE = make_capsules(**START)
TUNING = Tuning(
    BASE.contender, seed=0, studies=2, trials=4, study=0, trial=0, space={"learning_rate": "0.001..1"}, start=START
)
RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5]


def make_trial(number: int, accuracy: float):
    cell = make_capsules(learning_rate=RATES[number], seed=1_000_000 + number)
    tuning = replace(TUNING, study=number // 4, trial=number % 4)
    history = [{"epoch": 1, "loss": 0.1, "validation_accuracy": accuracy}]
    return make_record(cell, history=history, role="trial", tuning=tuning)


def make_result(study: int, rate: float, accuracy: float, validation: float, edges=()):
    cell = make_capsules(learning_rate=rate, seed=study)
    tuning = replace(TUNING, study=study, validation=validation, edges=list(edges))
    rows = [Row("accuracy", "accuracy", "test", accuracy, "fraction")]
    return make_record(cell, rows, tuning=tuning)


RESULTS = [make_result(0, 0.03, 0.90, 0.94), make_result(1, 0.2, 0.86, 0.88, ["learning_rate"])]


@pytest.fixture
def store(tmp_path) -> Store:
    trials = open_trials(tmp_path)
    for number, accuracy in enumerate([0.5, 0.7, 0.8, 0.94, 0.88, 0.7, 0.4]):
        trials.write(make_trial(number, accuracy))
    failed = make_trial(7, 0.0)
    trials.write(make_failed(failed.cell, role="trial", tuning=failed.tuning))
    other = replace(make_trial(0, 0.99).tuning, seed=1)  # of another search
    trials.write(replace(make_trial(0, 0.99), cell=make_capsules(learning_rate=0.9, seed=1_000_000), tuning=other))
    return Store(tmp_path)


def test_the_table_has_the_budget_and_the_optimism_of_each_contender(store):
    (row,) = SECTION.table(Material.from_records(RESULTS, store)).to_dict("records")
    assert (row["studies"], row["trials"], row["failed"]) == (2, 4, 1)
    assert (row["validation %"], row["test %"], row["optimism"]) == pytest.approx((91.0, 88.0, 3.0))
    assert row["optimism, ci95"] == pytest.approx(12.706 * 1.0, rel=1e-3)  # of 4 and 2 points
    assert row["chosen.learning_rate"] == "0.03, 0.2"
    assert row["edge.learning_rate"] == 1
    assert row["epochs"] == 8 * 10  # those of trials that failed too
    assert row["mattered.learning_rate"] > 0.5


def test_people_read_what_was_chosen_and_what_is_at_the_edge(store):
    (row,) = SECTION.readable(SECTION.table(Material.from_records(RESULTS, store))).to_dict("records")
    assert row["chosen"] == "learning rate 0.03, 0.2"
    assert row["at the edge"] == "learning rate (1 of 2)"
    assert row["mattered most"].startswith("learning rate ")
    assert row["failed"] == "1"
    assert row["epochs"] == "80"


def test_people_read_how_many_trials_are_missing(store):
    trials = open_trials(store.folder)
    material = Material.from_records(RESULTS, store)
    assert SECTION.readable(SECTION.table(material))["trials"].tolist() == [f"2 {TIMES} 4"]
    trials.record_path(make_trial(3, 0.94).cell.id).unlink()
    (row,) = SECTION.readable(SECTION.table(Material.from_records(RESULTS, store))).to_dict("records")
    assert row["trials"] == f"2 {TIMES} 4, 7 on record"


def test_a_report_names_a_trial_that_cannot_be_read(store):
    assert Material.from_records(RESULTS, store).trial_faults == []
    path = open_trials(store.folder).record_path(make_trial(3, 0.94).cell.id)
    path.write_text("{")
    for record in RESULTS:
        store.write(record)
    (fault,) = report(store.folder, formats=["csv"]).faults
    assert path.name in fault


def test_without_trials_on_record_the_results_still_tell(tmp_path):
    (row,) = SECTION.table(Material.from_records(RESULTS, Store(tmp_path))).to_dict("records")
    assert row["test %"] == pytest.approx(88.0)
    assert math.isnan(row["mattered.learning_rate"])
    assert math.isnan(row["epochs"])


def test_trials_are_no_tuned_contenders(store):
    trials = open_trials(store.folder)
    with pytest.raises(NoDataError):
        SECTION.table(Material.from_records(trials.records()[0], trials))


def test_a_report_without_tuned_contenders_has_no_such_section(tmp_path):
    untuned = [replace(record, tuning=None) for record in RESULTS]
    with pytest.raises(NoDataError):
        SECTION.table(Material.from_records(untuned, Store(tmp_path)))


def test_longer_trainings_of_winners_count_in_the_budget_and_in_the_optimism(store):
    def prolong(record, *rungs: Rung):
        search = Convergence(BASE.contender, 10, 80, [1_000_000], [*rungs])
        return replace(record, cell=record.cell.model_copy(update={"epochs": search.epochs}), convergence=search)

    results = [
        prolong(RESULTS[0], Rung(10, 0.94, True), Rung(20, 0.95, False)),
        prolong(RESULTS[1], Rung(10, 0.88, False)),
    ]
    (row,) = SECTION.table(Material.from_records(results, store)).to_dict("records")
    assert row["epochs"] == 8 * 10 + 20
    assert row["validation %"] == pytest.approx(91.5)  # of 95 and 88 %
