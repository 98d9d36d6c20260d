"""Trials on record, and the performance that they are judged by."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from capsbench.records.record import TRAINING, Failure
from capsbench.records.store import Store
from capsbench.records.table import load
from capsbench.records.tuning import Tuning
from capsbench.records.tuning.trials import open_trials, read_trials, read_validation
from tests.making import make_capsules, make_failed, make_record

TUNING = Tuning("0123456789ab", seed=0, studies=2, trials=3, study=1, trial=2, space={"learning_rate": "0.1..1"})


def history(*accuracies: float, name: str = "validation_accuracy") -> list[dict[str, float]]:
    return [{"epoch": epoch, "loss": 0.1, name: value} for epoch, value in enumerate(accuracies, start=1)]


def test_a_network_is_judged_by_the_weights_that_it_keeps() -> None:
    rising = history(0.5, 0.9, 0.8)
    assert read_validation(make_record(make_capsules(), history=rising)) == 0.8
    assert read_validation(make_record(make_capsules(patience=2), history=rising)) == 0.9


def test_a_loss_counts_downwards() -> None:
    losses = history(0.5, 0.2, name="validation_loss")
    assert read_validation(make_record(make_capsules(), history=losses)) == -0.2


def test_an_epoch_without_validation_is_passed_over() -> None:
    epochs = [*history(0.5), {"epoch": 2, "loss": 0.1}]
    assert read_validation(make_record(make_capsules(), history=epochs)) == 0.5


@pytest.mark.parametrize(
    "record",
    [
        None,
        make_failed(make_capsules()),
        make_record(make_capsules()),
        replace(make_record(make_capsules(), history=history(0.9)), failures={TRAINING: Failure("it became nan")}),
    ],
    ids=["absent", "failed", "no epoch", "outdated"],
)
def test_what_has_no_performance_is_worse_than_any(record) -> None:
    assert read_validation(record) == -math.inf


def test_a_trial_is_read_as_it_was_written_and_is_in_no_table_of_results(tmp_path) -> None:
    result = make_record(make_capsules(seed=1), tuning=replace(TUNING, validation=0.5, edges=["learning_rate"]))
    trial = make_record(make_capsules(seed=1_000_000), history=history(0.5), role="trial", tuning=TUNING)
    Store(tmp_path).write(result)
    open_trials(tmp_path).write(trial)
    assert read_trials(tmp_path) == [trial]
    assert Store(tmp_path).records() == ([result], [])
    assert set(load(tmp_path)["seed"]) <= {1}


def test_a_folder_without_a_search_has_no_trials(tmp_path) -> None:
    assert read_trials(tmp_path) == []
