"""`capsbench run`: wrong flags, seeds as needed, and epochs that are searched for."""

from __future__ import annotations

import json

import pytest

from capsbench.records.store import Store
from capsbench.records.tuning.trials import open_trials
from capsbench.running.estimate import Estimate
from capsbench.stats.sequential import LOOKS


@pytest.mark.parametrize(
    ("arguments", "start", "part"),
    [
        (("--worker", "3"), "capsbench: --worker: unknown", "did you mean '--workers'?"),
        # An argument of the Python function alone.
        (("--console", "x"), "capsbench: --console: unknown", "did you mean '--compile'?"),
        (("--seedz", "3"), "capsbench: --seedz: unknown", "did you mean '--seeds'?"),
        (("--worker",), "capsbench: --worker: unknown", "did you mean '--workers'?"),  # not a value that is missing
        (("--inverse-temperature",), "capsbench: --inverse-temperature: expected", "got ''"),
        (("--executor", "condor"), "capsbench: --executor: unknown 'condor'", "choose from local, ray, slurm"),
        (("--detach",), "capsbench: --detach: is for --executor slurm", ""),
    ],
)
def test_a_dry_run_refuses_flags_as_the_run_does(arguments, start, part, capsbench, tmp_path):
    answers = [capsbench("run", "--routing", "em", *arguments, *dry, cwd=tmp_path) for dry in ((), ("--dry-run",))]
    assert [answer.returncode for answer in answers] == [2, 2]
    (line,) = {answer.stderr for answer in answers}
    assert line.startswith(start)
    assert part in line


def test_seeds_are_added_until_a_comparison_is_decided(capsbench, in_one_process, tmp_path):
    quick = ("--routing", "dynamic,uniform", "--baseline", "none", "--train-size", "30", "--epochs", "1")
    words = ("run", *quick, "--measure", "accuracy", "--until-decided", "uniform,dynamic")
    answer = capsbench(*words, cwd=tmp_path)
    assert answer.returncode == 0
    records, _ = Store(tmp_path / "results").records()
    seeds = {
        record.cell.routing: {r.cell.seed for r in records if r.cell.routing == record.cell.routing}
        for record in records
    }
    assert seeds["dynamic"] == seeds["uniform"]
    assert len(seeds["dynamic"]) in LOOKS
    line = answer.stdout.splitlines()[0]
    assert f"after {len(seeds['dynamic'])} seeds" in line
    decided = "better" in line or "worse" in line
    assert decided or len(seeds["dynamic"]) == LOOKS[-1]
    assert all(len(set(run.decides)) == 2 for run in Store(tmp_path / "results").runs())
    decision = json.loads(capsbench(*words, "--json", cwd=tmp_path).stdout)["decision"]
    assert decision["seeds"] == len(seeds["dynamic"])


@pytest.mark.parametrize("flag", [("--shard", "1/2"), ("--fresh",), ("--seeds", "0,1"), ("--track", "tensorboard")])
def test_flags_that_fix_the_seeds_are_refused_beside_it(flag, capsbench, tmp_path):
    for dry in ((), ("--dry-run",)):
        answer = capsbench("run", "--routing", "em,dynamic", "--until-decided", "em,dynamic", *flag, *dry, cwd=tmp_path)
        assert answer.returncode == 2
        assert flag[0] in answer.stderr
    assert not (tmp_path / "results").exists()


SEARCH = (
    "run",
    "--routing",
    "uniform",
    "--train-size",
    "40",
    "--seeds",
    "0",
    "--measure",
    "accuracy",
    "--workers",
    "1",
)


@pytest.mark.usefixtures("in_one_process")
def test_epochs_are_searched_for(capsbench, tmp_path):
    answer = capsbench(*SEARCH, "--epochs", "auto:2", "--out", "auto", cwd=tmp_path)
    assert answer.returncode == 0
    assert "2 of 2 cells on record in auto" in answer.stdout
    results, _ = Store(tmp_path / "auto").records()
    for record in results:
        assert record.convergence.start == 2
        assert record.cell.epochs == record.convergence.epochs
        assert f"{record.cell.epochs} epochs" in answer.stderr
    trials, _ = open_trials(tmp_path / "auto").records()
    assert len(trials) == sum(len(record.convergence.tried) for record in results)
    told = json.loads(capsbench(*SEARCH, "--epochs", "auto:2", "--out", "auto", "--json", cwd=tmp_path).stdout)
    assert sorted(search["epochs"] for search in told["epochs"].values()) == sorted(r.cell.epochs for r in results)
    assert all(search["tried"][-1]["epochs"] >= search["epochs"] for search in told["epochs"].values())


@pytest.mark.usefixtures("in_one_process")
def test_a_dry_run_tells_the_first_trials_and_the_most_that_a_search_may_take(capsbench, tmp_path):
    answer = capsbench(*SEARCH, "--epochs", "auto:2", "--dry-run", "--json", cwd=tmp_path)
    plan = json.loads(answer.stdout)
    assert {cell["epochs"] for cell in plan["cells"]} == {2}
    assert len(plan["cells"]) == 2
    assert plan["most"]["cells"] == plan["most"]["left"] == 2 * 4 + 2  # 2, 4, 8 and 16 epochs, and the results
    assert plan["most"]["seconds"] > plan["seconds"]
    answer = capsbench(*SEARCH, "--epochs", "auto", "--dry-run", cwd=tmp_path)
    assert "2 cells, 2 to run" in answer.stdout
    assert "10 cells, 10 to run" in answer.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "flag",
    [
        ("--shard", "1/2"),
        ("--fresh",),
        ("--track", "tensorboard"),
        ("--detach",),
        ("--until-decided", "uniform,matched"),
        ("--epochs", "auto,30"),
        ("--epochs", "auto:none"),
        ("--seeds", "1000000"),
    ],
)
def test_what_cannot_go_with_a_search_for_epochs_is_refused_in_a_line(flag, capsbench, tmp_path):
    words = {"--routing": "uniform", "--epochs": "auto", **dict([(*flag, "")[:2]])}
    arguments = [part for pair in words.items() for part in pair if part]
    for dry in ((), ("--dry-run",)):
        answer = capsbench("run", *arguments, *dry, cwd=tmp_path)
        assert answer.returncode == 2
        assert answer.stderr.count("\n") == 1
        assert flag[0] in answer.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.usefixtures("in_one_process")
def test_a_budget_names_what_waits_and_the_command_that_goes_on(capsbench, monkeypatch, tmp_path):
    def estimate(planned, *rest, **how):
        return Estimate(seconds_of={job.cell.id: 0.0 if job.cell.has_routing else 7200.0 for job in planned})

    monkeypatch.setattr("capsbench.running.schedule.estimate_duration", estimate)
    command = ("run", "--routing", "uniform", "--train-size", "30", "--epochs", "1", "--seeds", "0,1")
    command += ("--measure", "accuracy", "--budget", "1h30m")
    answer = capsbench(*command, cwd=tmp_path)
    assert answer.returncode == 130
    done, *_, waits, again = answer.stdout.splitlines()
    assert done.startswith("2 of 4 cells on record")
    assert waits.startswith("waits: matched")
    assert waits.endswith("seeds 0, 1: about 2.0 h each")
    assert again.endswith(f"capsbench {' '.join(command)}")
    facts = json.loads(capsbench(*command, "--json", cwd=tmp_path).stdout)
    assert [each["seconds"] for each in facts["waiting"]] == [7200.0, 7200.0]


@pytest.mark.usefixtures("in_one_process")
@pytest.mark.parametrize(
    "wrong", [("--budget", "8x"), ("--budget", "1h", "--epochs", "0"), ("--budget", "1h", "--cell-timeout", "soon")]
)
def test_a_wrong_value_is_refused_before_anything_is_told(wrong, capsbench, tmp_path):
    answer = capsbench("run", "--routing", "uniform", *wrong, cwd=tmp_path)
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1


def test_a_dry_run_tells_what_fits_into_a_budget(capsbench, tmp_path):
    quick = ("--routing", "uniform", "--train-size", "30", "--epochs", "1", "--seeds", "0,1", "--measure", "accuracy")
    for budget, count in (("8h", 4), ("1s", 0)):
        plan = json.loads(capsbench("run", *quick, "--budget", budget, "--dry-run", "--json", cwd=tmp_path).stdout)
        assert len(plan["within_budget"]) == count
        assert len(plan["cells"]) == 4


@pytest.mark.parametrize(("flag", "value"), [("--epochs", "auto"), ("--until-decided", "uniform,matched")])
def test_a_budget_cannot_go_with_a_search_or_seeds_as_needed(flag, value, capsbench, tmp_path):
    answer = capsbench("run", "--routing", "uniform", flag, value, "--budget", "1h", cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.startswith("capsbench: --budget: ")
