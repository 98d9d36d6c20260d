"""A contender that the user's own tuner has trained."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest

from capsbench.errors import CallInterrupted, Kind, UsageError
from capsbench.planning.matrix import plan_cells
from capsbench.records.store import Store
from capsbench.records.tuning.trials import open_trials, read_trials
from capsbench.running.outcome import Outcome
from capsbench.tuning.contenders import list_contenders
from capsbench.tuning.outside import TunableContender
from capsbench.tuning.search import Search
from tests.tuning.making import FakeRuns

SETTING = {"learning_rate": 0.01}


@pytest.fixture
def make_tunable(tmp_path):
    """Returns a contender, with a tuner of the user's own, of a search with three trials."""

    def call(*, is_prolonged: bool = False) -> TunableContender:
        request = {"routing": "em", "baseline": "none", "seeds": [0, 1], "device": "cpu", "epochs": 8}
        search = Search(trials=3, studies=1, sampler="own", is_prolonged=is_prolonged)
        (contender,) = list_contenders(plan_cells({**request, "measure": "accuracy"}), search)
        runs = FakeRuns(lambda cell: 0.8 if cell.learning_rate < 1 else math.nan, enough=lambda cell: 16)
        return TunableContender("em", contender.spaces, contender, tmp_path, runs)

    return call


@pytest.fixture
def train(make_tunable, tmp_path):
    """Trains a setting and its results, and returns these."""

    def call(*, is_prolonged: bool):
        tunable = make_tunable(is_prolonged=is_prolonged)
        assert tunable.validate(2, SETTING) == 0.8
        weights = open_trials(tmp_path).folder / "weights" / "x.safetensors"
        weights.parent.mkdir()
        weights.touch()
        tunable.train_results(2, SETTING)
        assert not weights.exists()  # no trial keeps its weights once there is a winner
        return Store(tmp_path).records()[0]

    return call


def test_a_trial_has_one_setting(make_tunable, tmp_path) -> None:
    tunable = make_tunable()
    assert [tunable.validate(number, SETTING) for number in (0, 0, 1)] == [0.8] * 3
    with pytest.raises(UsageError) as caught:
        tunable.validate(1, {"learning_rate": 0.02})
    assert (caught.value.kind, caught.value.value) == (Kind.CONFLICT, 1)
    assert len(read_trials(tmp_path)) == 2


def test_an_interrupted_call_ends_the_loop_that_it_is_in(make_tunable) -> None:
    tunable = make_tunable()
    tunable.validate(0, SETTING)
    stopped = replace(tunable, _run_cells=lambda planned, store, remarks: Outcome(left=["a"], interrupted=True))
    for call in (partial(stopped.validate, 1), partial(stopped.train_results, 0)):
        with pytest.raises(CallInterrupted) as caught:
            call(SETTING)
        assert caught.value.result.left == ["a"]
        assert "1 left" in str(caught.value)


@pytest.mark.parametrize(
    ("number", "setting"), [(0, {"learning_rate": 0.02}), (1, SETTING), (2, {"learning_rate": 2.0})]
)
def test_results_are_those_of_a_trial_that_could_be_trained(make_tunable, number, setting, tmp_path) -> None:
    tunable = make_tunable()
    tunable.validate(0, SETTING)
    tunable.validate(2, {"learning_rate": 2.0})  # fails
    with pytest.raises(UsageError) as caught:
        tunable.train_results(number, setting)
    assert (caught.value.kind, caught.value.value) == (Kind.MISSING, number)
    assert not Store(tmp_path).folder.joinpath("records").exists()


def test_results_have_the_setting_and_fresh_seeds(train) -> None:
    results = train(is_prolonged=False)
    assert {(record.cell.learning_rate, record.cell.epochs) for record in results} == {(0.01, 8)}
    assert sorted(record.cell.seed for record in results) == [0, 1]
    assert {record.tuning.trial for record in results} == {2}
    assert {record.convergence for record in results} == {None}


def test_a_search_for_epochs_is_part_of_it_if_asked_for(train) -> None:
    results = train(is_prolonged=True)
    assert {record.cell.epochs for record in results} == {16}
    assert all([rung.epochs for rung in record.convergence.tried] == [8, 16] for record in results)
