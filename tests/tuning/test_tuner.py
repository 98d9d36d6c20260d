"""A search from its trials to the results of its winners, with performances that the test chooses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from capsbench.planning.matrix import PlannedCell, plan_cells
from capsbench.records.cell import Cell
from capsbench.records.store import Store
from capsbench.records.tuning.trials import open_trials, read_trials
from capsbench.running.outcome import Outcome
from capsbench.tuning.contenders import Contender, list_contenders
from capsbench.tuning.epochs import change_epochs
from capsbench.tuning.search import FIRST_TRIAL_SEED, Search
from capsbench.tuning.tuner import Tuned, Tuner
from tests.tuning.making import FakeRuns, Performance


def near_rate(rate: float) -> Performance:
    """A performance that falls with the distance of the learning rate from its best value."""
    return lambda cell: 1 - abs(math.log10(cell.learning_rate / rate)) / 10


@pytest.fixture(scope="module")
def planned() -> list[PlannedCell]:
    request = {"routing": "em", "seeds": [0, 1], "device": "cpu", "train_size": 100, "epochs": 2, "measure": "accuracy"}
    return plan_cells(request)


@pytest.fixture
def contenders(planned) -> list[Contender]:
    return list_contenders(planned, Search(trials=12, studies=3))


def read_results(folder: Path) -> list[Cell]:
    return [record.cell for record in Store(folder).records()[0]]


def test_every_contender_has_as_many_trials_of_other_seeds_than_its_results(contenders, tmp_path) -> None:
    runs = FakeRuns(near_rate(0.01))
    tuned = Tuner(contenders, tmp_path, runs).run()
    assert tuned.results is not None
    trials = read_trials(tmp_path)
    for contender in contenders:
        own = [trial for trial in trials if trial.tuning.contender == contender.identity]
        assert sorted(trial.cell.seed - FIRST_TRIAL_SEED for trial in own) == list(range(12))
        assert sorted((trial.tuning.study, trial.tuning.trial) for trial in own) == [
            (study, trial) for study in range(3) for trial in range(4)
        ]
    assert {trial.role for trial in trials} == {"trial"}
    assert not any(trial.measures for trial in trials)
    assert len(trials) == 24


def test_each_study_has_the_trial_of_best_validation_as_its_winner(contenders, tmp_path) -> None:
    Tuner(contenders, tmp_path, FakeRuns(near_rate(0.01))).run()
    for contender in contenders:
        results = [record for record in Store(tmp_path).records()[0] if record.tuning.contender == contender.identity]
        assert sorted(record.cell.seed for record in results) == [0, 1, 2, 3, 4, 5]
        for record in results:
            study = record.tuning.study
            rates = [contender.draw_setting(trial)["learning_rate"] for trial in range(4 * study, 4 * study + 4)]
            best = min(rates, key=lambda rate: abs(math.log10(rate / 0.01)))
            assert record.cell.learning_rate == best
            assert record.cell.seed // 2 == study
            assert record.tuning.trial == rates.index(best)
            assert record.tuning.validation == pytest.approx(near_rate(0.01)(record.cell))


def test_the_matched_cnn_keeps_its_parameters(planned, contenders, tmp_path) -> None:
    Tuner(contenders, tmp_path, FakeRuns(near_rate(0.01))).run()
    targets = {job.cell.options["network.parameters"] for job in planned if not job.cell.has_routing}
    found = {cell.options["network.parameters"] for cell in read_results(tmp_path) if not cell.has_routing}
    assert found == targets
    assert len(targets) == 1


def test_a_search_goes_on_where_it_was_left(contenders, tmp_path) -> None:
    whole = tmp_path / "whole"
    Tuner(contenders, whole, FakeRuns(near_rate(0.01))).run()
    parts = tmp_path / "parts"
    trained: list[Cell] = []
    for _ in range(10):
        runs = FakeRuns(near_rate(0.01), most=5)
        tuned = Tuner(contenders, parts, runs).run()
        trained += runs.trained
        if tuned.results is not None and not tuned.results.left:
            break
    assert len(trained) == len({cell.id for cell in trained}) == 24 + 12  # nothing is trained twice
    assert sorted(cell.id for cell in read_results(parts)) == sorted(cell.id for cell in read_results(whole))


def test_two_machines_with_other_orders_come_to_the_same_winners(contenders, tmp_path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    Tuner(contenders, alone, FakeRuns(near_rate(0.03))).run()
    first = Tuner(contenders, together, FakeRuns(near_rate(0.03), most=7))
    assert first.run().results is None
    second = Tuner(list(reversed(contenders)), together, FakeRuns(near_rate(0.03)))
    second.run()
    assert sorted(cell.id for cell in read_results(together)) == sorted(cell.id for cell in read_results(alone))


def test_trials_keep_no_weights(contenders, tmp_path) -> None:
    store = open_trials(tmp_path)
    runs = FakeRuns(near_rate(0.01))

    def run_cells(planned, folder, remarks):
        outcome = runs(planned, folder, remarks)
        for job in planned:
            path = folder.weights_path(job.cell.id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"weights")
        return outcome

    Tuner(contenders, tmp_path, run_cells).run()
    assert not list(store.folder.glob("weights/*"))
    assert len(list(Store(tmp_path).folder.glob("weights/*"))) == 12


def test_a_trial_that_failed_used_its_budget_and_a_study_of_failures_is_named(contenders, tmp_path) -> None:
    cnn = next(contender for contender in contenders if not contender.planned.cell.has_routing)

    def fail_cnn_in_study_1(cell: Cell) -> float:
        number = cell.seed - FIRST_TRIAL_SEED
        failed = not cell.has_routing and (4 <= number < 8 or number == 0)
        return math.nan if failed else near_rate(0.01)(cell)

    tuned = Tuner(contenders, tmp_path, FakeRuns(fail_cnn_in_study_1)).run()
    assert tuned.facts == {"without_winner": tuned.without_winner, "epochs": {}}
    assert len(tuned.without_winner) == 1
    results = [record for record in Store(tmp_path).records()[0] if record.tuning.contender == cnn.identity]
    assert {record.tuning.study for record in results} == {0, 2}
    assert 0 not in {record.tuning.trial for record in results if record.tuning.study == 0}


def test_results_say_which_settings_are_at_the_edge(planned, tmp_path) -> None:
    contenders = list_contenders(planned, Search(trials=40, studies=1))
    Tuner(contenders, tmp_path, FakeRuns(near_rate(0.1))).run()  # the best is the end of the range
    assert all("learning_rate" in record.tuning.edges for record in Store(tmp_path).records()[0])


def test_a_search_that_learns_finds_a_narrow_optimum_and_is_rebuilt_from_its_records(planned, tmp_path) -> None:
    capsules = [replace(job, measures=()) for job in planned if job.cell.has_routing]
    contenders = list_contenders(capsules, Search(trials=30, studies=1, sampler="tpe"))
    runs = FakeRuns(near_rate(0.004))
    Tuner(contenders, tmp_path, runs).run()
    trials = sorted(read_trials(tmp_path), key=lambda trial: trial.cell.seed)
    errors = [abs(math.log10(trial.cell.learning_rate / 0.004)) for trial in trials]
    assert sum(errors[20:]) / 10 < sum(errors[:10]) / 10  # later trials are nearer
    again = FakeRuns(near_rate(0.004))
    Tuner(contenders, tmp_path, again).run()
    assert again.trained == []


def test_an_interrupted_search_that_learns_counts_the_trials_of_all_rounds(planned, tmp_path) -> None:
    contenders = list_contenders(planned, Search(trials=30, studies=1, sampler="tpe"))  # em and its matched CNN
    tuned = Tuner(contenders, tmp_path, FakeRuns(near_rate(0.01), most=7)).run()
    assert (tuned.results, tuned.trials.count_done(), tuned.trials.count_left()) == (None, (7, 60), 53)
    again = Tuner(contenders, tmp_path, FakeRuns(near_rate(0.01), most=1)).run()
    assert again.trials.count_done() == (8, 60)


def test_each_winner_is_trained_longer_as_long_as_it_is_improving(planned, tmp_path) -> None:
    jobs = [change_epochs(job, 8) for job in planned]
    contenders = list_contenders(jobs, Search(trials=6, studies=3, is_prolonged=True))
    runs = FakeRuns(lambda cell: near_rate(0.01)(cell) - 0.2, enough=lambda cell: 16 if cell.has_routing else 8)
    tuned = Tuner(contenders, tmp_path, runs).run()
    assert tuned.results is not None
    results, _ = Store(tmp_path).records()
    assert {(record.cell.has_routing, record.cell.epochs) for record in results} == {(True, 16), (False, 8)}
    trials = {trial.cell.id: trial for trial in open_trials(tmp_path).records()[0]}
    for record in results:
        winner = next(
            trial
            for trial in read_trials(tmp_path)
            if trial.tuning.contender == record.tuning.contender
            and (trial.tuning.study, trial.tuning.trial) == (record.tuning.study, record.tuning.trial)
        )
        assert record.convergence.contender == winner.cell.contender
        assert record.convergence.seeds == [winner.cell.seed]
        assert record.cell.learning_rate == winner.cell.learning_rate
        assert record.request["epochs"] == record.cell.epochs
        longer = winner.cell.model_copy(update={"epochs": 16})
        assert (longer.id in trials) is record.cell.has_routing
    assert len(read_trials(tmp_path)) == 12  # a longer training is no trial of settings
    assert len(trials) == 12 + 3
    assert sorted(search["epochs"] for search in tuned.facts["epochs"].values()) == [8, 8, 8, 16, 16, 16]


def test_a_search_that_is_interrupted_while_it_trains_winners_longer_counts_its_trials_too(planned, tmp_path) -> None:
    contenders = list_contenders([change_epochs(job, 8) for job in planned], Search(6, 3, is_prolonged=True))
    runs = FakeRuns(lambda cell: 0.7, most=14, enough=lambda cell: 16)
    tuned = Tuner(contenders, tmp_path, runs).run()
    assert tuned.results is None
    assert tuned.trials.count_done() == (14, 18)  # 12 trials of settings, and 2 of the 6 longer ones


def test_the_settings_and_trials_are_those_of_a_search_with_fixed_epochs(planned) -> None:
    fixed, searched = (
        list_contenders(planned, Search(trials=4, studies=2, is_prolonged=value)) for value in (False, True)
    )
    assert [one.draw_trial(3) for one in fixed] == [other.draw_trial(3) for other in searched]


def test_a_search_with_longer_trainings_goes_on_where_it_was_left(planned, tmp_path) -> None:
    jobs = [change_epochs(job, 8) for job in planned]
    contenders = list_contenders(jobs, Search(trials=4, studies=2, is_prolonged=True))

    def run(folder: Path, most: int | None = None) -> tuple[FakeRuns, bool]:
        runs = FakeRuns(lambda cell: near_rate(0.01)(cell) - 0.2, most, enough=lambda cell: 32)
        tuned = Tuner(contenders, folder, runs).run()
        return runs, tuned.results is not None and not tuned.results.left

    run(tmp_path / "whole")
    trained: list[Cell] = []
    for _ in range(12):
        runs, is_finished = run(tmp_path / "parts", most=3)
        trained += runs.trained
        if is_finished:
            break
    assert len(trained) == len({cell.id for cell in trained}) == 8 + 4 * 2 + 4 * 2
    assert sorted(cell.id for cell in read_results(tmp_path / "parts")) == sorted(
        cell.id for cell in read_results(tmp_path / "whole")
    )


def test_a_notebook_shows_the_results_or_else_the_trials():
    trials, results = Outcome(["a", "b"], left=["c"]), Outcome(["d"])
    assert Tuned(trials).describe_output().lead.endswith(trials.describe())
    output = Tuned(trials, results, ["em, study 1"]).describe_output()
    assert output.lead == results.describe()
    assert output.items[0].startswith("em, study 1")
