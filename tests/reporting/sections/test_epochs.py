"""The section on epochs: what each contender got, why its search ended, and what it took."""

from __future__ import annotations

from dataclasses import replace

import pytest

from capsbench.presenting.caption import spell_caption
from capsbench.presenting.material import Material, NoDataError
from capsbench.records.store import Store
from capsbench.records.tuning import Tuning
from capsbench.records.tuning.convergence import Convergence, Rung
from capsbench.reporting.sections.epochs import SECTION


def searched(record, *rungs: Rung, seeds=(1_000_000, 1_000_001)):
    """A result with the last epochs of a search that started from 10."""
    start = record.cell.model_copy(update={"epochs": 10})
    search = Convergence(start.contender, 10, 80, [*seeds], [*rungs])
    return replace(record, cell=record.cell.model_copy(update={"epochs": search.epochs}), convergence=search)


@pytest.fixture
def records(capsules, matched):
    """A capsule network that was still improving at the ceiling, and a CNN that had enough with 20 epochs."""
    long = [Rung(10, 0.8, True), Rung(20, 0.85, True), Rung(40, 0.9, True), Rung(80, 0.92, True)]
    short = [Rung(10, 0.9, None), Rung(20, 0.9344, False)]
    return [
        *(searched(capsules(0.92, seed=seed), *long) for seed in (0, 1)),
        *(searched(matched(0.93, seed=seed), *short) for seed in (0, 1)),
    ]


def test_the_table_has_the_epochs_and_the_budget_of_each_contender(records, tmp_path):
    capsules, cnn = SECTION.table(Material.from_records(records, Store(tmp_path))).to_dict("records")
    assert (capsules["start"], capsules["ceiling"], capsules["trials"], capsules["searches"]) == (10, 80, 2, 1)
    assert (capsules["epochs"], capsules["converged"], capsules["spent"]) == ("80", 0, 300)
    assert (cnn["epochs"], cnn["converged"], cnn["spent"]) == ("20", 1, 60)


def test_people_read_what_was_tried_and_why_it_ended(records, tmp_path):
    readable = SECTION.readable(SECTION.table(Material.from_records(records, Store(tmp_path))))
    assert readable["tried (validation)"][1] == "10 (90.0 %), 20 (93.4 %)"
    assert readable["at the end"].tolist() == ["still improving at the ceiling", "no longer improving"]
    assert readable["epochs of all trials"].tolist() == ["300", "60"]
    assert "study" not in spell_caption(SECTION.caption, readable)


def test_each_study_of_a_tuned_contender_has_epochs_of_its_own(capsules, tmp_path):
    results = []
    for study, rungs in enumerate([[Rung(10, 0.9, False)], [Rung(10, 0.8, True), Rung(20, 0.9, False)]]):
        result = searched(capsules(0.9, seed=study), *rungs, seeds=[1_000_000 + study])
        start = result.cell.model_copy(update={"epochs": 10}).contender
        results.append(replace(result, tuning=Tuning(start, seed=0, studies=2, trials=3, study=study, trial=0)))
    (row,) = SECTION.table(Material.from_records(results, Store(tmp_path))).to_dict("records")
    assert (row["epochs"], row["tried"]) == ("10; 20", "10 (90.0 %); 10 (80.0 %), 20 (90.0 %)")
    assert (row["searches"], row["converged"], row["spent"]) == (2, 2, 40)
    readable = SECTION.readable(SECTION.table(Material.from_records(results, Store(tmp_path))))
    assert "study" in spell_caption(SECTION.caption, readable)


def test_losses_and_failed_trials_are_spelled(capsules, tmp_path):
    record = searched(capsules(0.9), Rung(10, -31.25, True), Rung(20))
    (row,) = SECTION.table(Material.from_records([record], Store(tmp_path))).to_dict("records")
    assert row["tried"] == "10 (31.2), 20 (failed)"
    assert "20 epochs" in row["at the end"]


def test_a_report_of_fixed_epochs_has_no_such_section(capsules, tmp_path):
    with pytest.raises(NoDataError):
        SECTION.table(Material.from_records([capsules(0.9)], Store(tmp_path)))
