"""A contender that the user's own tuner has trained."""

from __future__ import annotations

import pytest

from capsbench.planning.matrix import plan_cells
from capsbench.records.store import Store
from capsbench.tuning.contenders import list_contenders
from capsbench.tuning.outside import TunableContender
from capsbench.tuning.search import Search
from tests.tuning.making import FakeRuns

SETTING = {"learning_rate": 0.01}


@pytest.fixture
def train(tmp_path):
    """Trains a setting and its results, and returns these."""

    def call(*, is_prolonged: bool):
        request = {"routing": "em", "baseline": "none", "seeds": [0, 1], "device": "cpu", "epochs": 8}
        search = Search(trials=3, studies=1, sampler="own", is_prolonged=is_prolonged)
        (contender,) = list_contenders(plan_cells({**request, "measure": "accuracy"}), search)
        runs = FakeRuns(lambda cell: 0.8, enough=lambda cell: 16)
        tunable = TunableContender("em", contender.spaces, contender, tmp_path, runs)
        assert tunable.validate(2, SETTING) == 0.8
        tunable.train_results(2, SETTING)
        return Store(tmp_path).records()[0]

    return call


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
