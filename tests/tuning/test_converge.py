"""`capsbench.converge` on digits, from the request to the page; and what it refuses."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

import capsbench
from capsbench.errors import Kind, UsageError
from capsbench.records.store import Store
from capsbench.records.tuning.convergence import Convergence, Rung
from capsbench.records.tuning.trials import TRIALS, open_trials
from capsbench.running.machines import Machines
from capsbench.running.outcome import Outcome
from capsbench.tuning.converge import Converged, converge, plan_climbers, run_search
from capsbench.tuning.epochs import describe_found
from capsbench.tuning.search import FIRST_TRIAL_SEED

REQUEST = dict(routing="uniform", train_size=40, epochs=3, seeds=[0, 1], measure="accuracy", device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_process) -> Path:
    """A search for the epochs of uniform routing and its matched CNN, with the results."""
    out = tmp_path_factory.mktemp("converged")
    with one_process():
        converged = converge(**REQUEST, out=out, workers=1)
    assert converged.results is not None
    assert converged.results.failed == converged.results.left == []
    return out


def read_epochs(folder: Path) -> dict[tuple[bool, int], int]:
    """Returns (has routing, seed) -> epochs of the results."""
    records, faults = Store(folder).records()
    assert faults == []
    return {(record.cell.has_routing, record.cell.seed): record.cell.epochs for record in records}


def test_results_and_trials_have_the_epochs_that_the_rule_found(folder) -> None:
    results, _ = Store(folder).records()
    assert len(results) == 4  # two seeds of the capsule network and of its CNN
    trials, _ = open_trials(folder).records()
    for record in results:
        search = record.convergence
        assert record.cell.epochs == search.epochs == record.request["epochs"]
        assert (search.start, search.ceiling) == (3, 24)
        assert search.seeds == [FIRST_TRIAL_SEED, FIRST_TRIAL_SEED + 1]
        assert search.is_concluded or search.epochs == 24
        assert record.measured == ["accuracy"]
        tried = [trial for trial in trials if trial.convergence.contender == search.contender]
        assert sorted({trial.cell.epochs for trial in tried}) == [rung.epochs for rung in search.tried]
        assert len(tried) == 2 * len(search.tried)
    assert {trial.role for trial in trials} == {"trial"}
    assert not any(trial.measures for trial in trials)


def test_the_same_call_runs_nothing_again(folder, in_one_process) -> None:
    files = [*folder.glob("records/*.json"), *folder.glob(f"{TRIALS}/records/*.json")]
    before = {path: path.stat().st_mtime_ns for path in files}
    converged = converge(**REQUEST, out=folder, workers=1)
    assert len(converged.results.on_record) == 4
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_a_search_that_was_cut_off_again_and_again_ends_with_the_same(folder, in_one_process, tmp_path) -> None:
    run_cells = partial(Machines(workers=1).run_cells, command="capsbench.converge")
    climbers, _ = plan_climbers(**REQUEST)

    def run_some(planned, store, remarks):
        missing = [job for job in planned if not store.has(job.cell)]
        outcome = run_cells(planned if len(missing) <= 3 else missing[:3], store, remarks)
        return outcome if len(missing) <= 3 else Outcome(left=[job.cell.id for job in missing[3:]], interrupted=True)

    for _ in range(20):
        converged = run_search(climbers, tmp_path, run_some)
        if converged.results is not None and not converged.results.interrupted:
            break
    assert read_epochs(tmp_path) == read_epochs(folder)


def test_the_page_compares_contenders_by_the_rule_and_prints_the_epochs_of_each(folder) -> None:
    made = capsbench.report(folder, formats=("csv",))
    assert sorted(made.summary["n"]) == [2, 2]
    assert all("auto epochs" in command.name for command in made.document.commands)
    assert made.summary["difference_n.matched"].dropna().tolist() == [2]
    parts = {part.name: part for part in made.document.parts}
    assert len(parts["epochs"].table.rows) == 2
    found = read_epochs(folder)
    for command in made.document.commands:
        has_routing = "uniform" in command.name
        assert f"--epochs {found[has_routing, 0]} " in command.again.command
        assert "--seeds 0,1" in command.again.command


def test_trials_are_planned_with_the_epochs_of_the_request_or_those_of_the_recipe() -> None:
    def plan_starts(**request) -> set[int]:
        climbers, _ = plan_climbers(routing="uniform", seeds=0, device="cpu", **request)
        return {trial.cell.epochs for climber in climbers for trial in climber.ladder.trials}

    recipe = {cell.epochs for cell in capsbench.cells(routing="uniform", seeds=0, device="cpu")}
    assert plan_starts() == plan_starts(epochs="auto") == recipe
    assert plan_starts(epochs=5) == plan_starts(epochs="auto:5") == {5}


@pytest.mark.parametrize(
    ("request_", "kind", "flag"),
    [
        ({"shard": "1/2"}, Kind.CONFLICT, "shard"),
        ({"fresh": True}, Kind.CONFLICT, "fresh"),
        ({"detach": True}, Kind.CONFLICT, "detach"),
        ({"track": "tensorboard"}, Kind.CONFLICT, "track"),
        ({"epochs": "auto:few"}, Kind.INVALID, "epochs"),
        ({"epochs": "auto:0"}, Kind.INVALID, "epochs"),
        ({"epochs": "auto,5"}, Kind.CONFLICT, "epochs"),
        ({"epochs": 2**30}, Kind.CONFLICT, "epochs"),
        ({"seeds": FIRST_TRIAL_SEED}, Kind.INVALID, "seeds"),
        ({"seeds": [0, 1, 2], "max_cells": 20}, Kind.INVALID, "max_cells"),
        ({"checkpoint_seconds": -1}, Kind.INVALID, "checkpoint_seconds"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_searched_is_refused_before_anything_runs(request_, kind, flag, tmp_path) -> None:
    with pytest.raises(UsageError) as caught:
        converge(**{"routing": "uniform", "seeds": 0, "device": "cpu", **request_}, out=tmp_path / "out")
    assert (caught.value.kind, caught.value.flag) == (kind, flag)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("call", [capsbench.run, capsbench.cells, capsbench.decide])
def test_other_calls_name_this_one(call, tmp_path) -> None:
    how = {"out": tmp_path} if call is capsbench.run else {}
    pair = ["uniform,matched"] if call is capsbench.decide else []
    with pytest.raises(UsageError) as caught:
        call(*pair, routing="uniform", epochs="auto", **how)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.CONFLICT, "epochs", "auto")
    assert "capsbench.converge" in str(caught.value.expected)


def test_a_notebook_shows_the_epochs_that_were_found():
    search = Convergence("0" * 12, 5, 40, [0, 1], [Rung(5, 0.8, True), Rung(10, 0.9, False)])
    converged = Converged(Outcome(), Outcome(["a"]), {"em x3": search})
    assert converged.describe_output().items == [describe_found("em x3", search)]
    told = json.loads(json.dumps(converged.facts))["epochs"]["em x3"]
    assert (told["epochs"], told["start"], told["ceiling"], told["seeds"]) == (10, 5, 40, [0, 1])
    assert [(rung["epochs"], rung["is_improving"]) for rung in told["tried"]] == [(5, True), (10, False)]
