"""What of a search is on record, against what the search then runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from capsbench.planning.matrix import PlannedCell, plan_cells
from capsbench.records.cell import Cell
from capsbench.tuning.contenders import Contender, list_contenders
from capsbench.tuning.converge import plan_climbers, run_search
from capsbench.tuning.outline import Count, outline_climbers, outline_search
from capsbench.tuning.search import FIRST_TRIAL_SEED, Search
from capsbench.tuning.tuner import Tuner
from tests.tuning.making import FakeRuns

Plan = Callable[..., list[Contender]]
SEARCH = Search(trials=4, studies=2)
REQUEST = {"routing": "em", "seeds": [0, 1], "device": "cpu", "train_size": 100, "epochs": 8, "measure": "accuracy"}


@pytest.fixture(scope="module")
def planned() -> list[PlannedCell]:
    return plan_cells(REQUEST)


def prefer_low_rates(cell: Cell) -> float:
    return 0.9 - cell.learning_rate


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_what_is_left_is_what_the_search_then_runs(planned, tmp_path, sampler: str) -> None:
    search = SEARCH if sampler == "random" else Search(11, 1, sampler="tpe")
    contenders = list_contenders(planned, search)
    cells = 2 * (search.trials + 2 * search.studies)
    for finished in range(0, cells + 1, 3):
        outline = outline_search(contenders, tmp_path)
        assert (outline.cells, len(outline.left)) == (cells, cells - finished)
        assert not outline.is_open
        Tuner(contenders, tmp_path, FakeRuns(prefer_low_rates, most=3)).run()


def test_nothing_is_written(planned, tmp_path) -> None:
    (first, second) = outline_search(list_contenders(planned, SEARCH), tmp_path / "tuned").counts
    assert first == second == {"trials": Count(4, 0), "longer": Count(0, 0), "results": Count(4, 0)}
    assert not list(tmp_path.iterdir())


def test_results_that_lack_a_measure_are_only_measured(planned, tmp_path) -> None:
    contenders = list_contenders(planned, SEARCH)
    Tuner(contenders, tmp_path, FakeRuns(prefer_low_rates)).run()
    more = [replace(job, measures=("accuracy", "cost")) for job in planned]
    outline = outline_search(list_contenders(more, SEARCH), tmp_path)
    assert [job.measures for job in outline.left] == [("cost",)] * 8
    assert outline.trained == {job.cell.id for job in outline.left}


def test_a_trial_that_failed_is_left_and_the_results_of_its_study_are_not(planned, tmp_path) -> None:
    contenders = list_contenders(planned, SEARCH)

    def fail_first(cell: Cell) -> float:
        return math.nan if cell.seed == FIRST_TRIAL_SEED else prefer_low_rates(cell)

    Tuner(contenders, tmp_path, FakeRuns(fail_first)).run()
    assert [dict(counts) for counts in outline_search(contenders, tmp_path).counts] == [
        {"trials": Count(4, 3), "longer": Count(0, 0), "results": Count(4, 4)}
    ] * 2


def test_the_longer_trainings_of_winners_are_counted_until_their_epochs_are_found(planned, tmp_path) -> None:
    contenders = list_contenders(planned, replace(SEARCH, is_prolonged=True))
    most = 2 * (4 + 2 * 3 + 2 * 2)
    enough = {True: 16, False: 0}

    def run(cells: int | None) -> FakeRuns:
        runs = FakeRuns(prefer_low_rates, cells, enough=lambda cell: enough[cell.has_routing])
        Tuner(contenders, tmp_path, runs).run()
        return runs

    outline = outline_search(contenders, tmp_path)
    assert (outline.cells, len(outline.left), outline.is_open) == (most, most, True)
    assert {job.cell.epochs for job in outline.left} == {8, 16, 32, 64}
    run(8)  # the trials: of the CNN it is known that more epochs do not help
    outline = outline_search(contenders, tmp_path)
    assert [counts["longer"] for counts in outline.counts] == [Count(6, 0), Count(0, 0)]
    assert (outline.cells, len(outline.left), outline.is_open) == (most - 6, most - 6 - 8, True)
    run(1)  # of the two winners of the capsule network, one
    outline = outline_search(contenders, tmp_path)
    assert [counts["longer"] for counts in outline.counts] == [Count(4, 1), Count(0, 0)]
    run(1)
    outline = outline_search(contenders, tmp_path)
    assert not outline.is_open
    assert sorted({job.cell.epochs for job in outline.left}) == [8, 16]
    assert len(run(None).trained) == len(outline.left) == 8
    assert not outline_search(contenders, tmp_path).left


def test_a_search_for_epochs_is_outlined_too(tmp_path) -> None:
    climbers, _ = plan_climbers(**REQUEST)
    most, finished = 2 * 2 * 5, 0
    for cells in (None, 4, 2, 1):  # nothing; all first trials; the longer trainings of one contender; a result
        if cells is not None:
            runs = FakeRuns(prefer_low_rates, cells, enough=lambda cell: 16 if cell.has_routing else 0)
            run_search(climbers, tmp_path, runs)
            finished += cells
            most -= {4: 6, 2: 4, 1: 0}[cells]  # trainings that are not needed
        outline = outline_climbers(climbers, tmp_path)
        assert (outline.cells, len(outline.left), outline.is_open) == (most, most - finished, finished < 6)
    assert sorted(job.cell.epochs for job in outline.left) in ([8, 8, 16], [8, 16, 16])
