"""`capsbench tune` from the command line to the page."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from capsbench.records.store import Store
from capsbench.records.tuning.trials import read_trials

QUICK = (
    "--routing",
    "em",
    "--train-size",
    "40",
    "--epochs",
    "1",
    "--seeds",
    "0",
    "--measure",
    "accuracy",
    "--workers",
    "1",
)
LONGER = (*QUICK[:5], "auto:1", *QUICK[6:])
SEARCH = ("--trials", "4", "--studies", "2")


@pytest.fixture
def search(capsbench, in_one_process, tmp_path):
    """Calls `capsbench tune` on a quick search in the folder of the test."""

    def call(*arguments):
        return capsbench("tune", *QUICK, *SEARCH, "--out", "tuned", *arguments, cwd=tmp_path)

    return call


def test_a_search_leaves_results_trials_and_a_page(search, capsbench, tmp_path):
    answer = search()
    assert answer.returncode == 0
    assert "4 of 4 cells on record in tuned" in answer.stdout
    results, _ = Store(tmp_path / "tuned").records()
    assert {record.cell.seed for record in results} == {0, 1}  # a fresh seed for each study
    assert len(read_trials(tmp_path / "tuned")) == 8

    assert capsbench("report", "--out", "tuned", "--format", "csv,md", cwd=tmp_path).returncode == 0
    folder = tmp_path / "tuned" / "report"
    tuning = pd.read_csv(folder / "tuning.csv")
    assert tuning["trials"].tolist() == [2, 2]
    assert tuning["studies"].tolist() == [2, 2]
    table = pd.read_csv(folder / "table.csv")
    assert table["n"].tolist() == [2, 2]
    assert tuning["test %"].tolist() == pytest.approx(table["accuracy_percent"].tolist())
    budgets = pd.read_csv(folder / "budgets.csv")
    assert sorted(set(budgets["budget"])) == [1, 2]
    assert not budgets["leads"].any()  # 4 trials decide nothing
    commands = [
        line for line in (folder / "table.md").read_text().splitlines() if line.strip().startswith("capsbench run")
    ]
    assert len(commands) == 4  # one for the winner of each study


def test_the_same_command_runs_nothing_again(search, tmp_path):
    search()
    records = {path: path.stat().st_mtime_ns for path in tmp_path.glob("tuned/**/records/*.json")}
    answer = search("--json")
    assert answer.returncode == 0
    told = json.loads(answer.stdout)
    assert (told["without_winner"], told["epochs"], len(told["on_record"])) == ([], {}, 4)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("tuned/**/records/*.json")} == records
    plan = json.loads(search("--dry-run", "--json").stdout)
    assert (plan["cells"], plan["left"], plan["seconds"]) == (12, 0, 0)
    assert [contender["on_record"] for contender in plan["contenders"]] == [
        {"trials": 4, "longer": 0, "results": 2}
    ] * 2


def test_a_dry_run_says_the_spaces_and_runs_nothing(search, tmp_path):
    answer = search("--dry-run", "--json", "--space", "batch=8,16")
    assert answer.returncode == 0
    plan = json.loads(answer.stdout)
    assert [contender["trials"] for contender in plan["contenders"]] == [4, 4]
    assert [contender["results"] for contender in plan["contenders"]] == [2, 2]
    assert all(contender["spaces"]["batch_size"] == "8,16" for contender in plan["contenders"])
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (("--studies", "3"), "--studies"),  # 4 trials
        (("--sampler", "grid"), "--sampler"),
        (("--space", "learning-rat=0.1..1"), "--space"),
        (("--space", "lr"), "--space"),
        (("--trial", "3"), "--trial"),
        (("--shard", "1/2"), "--shard"),
        (("--console", "x"), "--console"),  # an argument of the Python function alone
        (("--space", "normalise=window,al"), "'al'"),  # also if no trial draws it
        (("--lr", "0.01,0.02", "--trials", "0"), "--trials"),
    ],
)
def test_wrong_flags_are_refused_in_a_line(capsbench, arguments, flag, tmp_path):
    for dry in ((), ("--dry-run",)):
        defaults = () if "--trials" in arguments else ("--trials", "4")
        answer = capsbench("tune", *QUICK, *defaults, "--out", "tuned", *arguments, *dry, cwd=tmp_path)
        assert answer.returncode == 2
        assert answer.stderr.count("\n") == 1
        assert flag in answer.stderr
    assert not (tmp_path / "tuned").exists()


def test_winners_are_trained_with_the_epochs_that_a_search_finds(capsbench, in_one_process, tmp_path):
    quick = ("--routing", "uniform", "--baseline", "none", *LONGER[2:])
    answer = capsbench("tune", *quick, "--trials", "2", "--studies", "2", "--out", "tuned", cwd=tmp_path)
    assert answer.returncode == 0
    results, _ = Store(tmp_path / "tuned").records()
    assert len(results) == 2
    for record in results:
        assert record.cell.epochs == record.request["epochs"] == record.convergence.epochs
        assert record.convergence.start == 1
        assert record.tuning.trials == 1
    assert len(read_trials(tmp_path / "tuned")) == 2
    assert capsbench("report", "--out", "tuned", "--format", "csv", cwd=tmp_path).returncode == 0
    folder = tmp_path / "tuned" / "report"
    assert pd.read_csv(folder / "table.csv")["n"].tolist() == [2]
    tuning, epochs = pd.read_csv(folder / "tuning.csv"), pd.read_csv(folder / "epochs.csv")
    # The first trial of each study is one of the search for settings.
    assert tuning["epochs"].tolist() == epochs["spent"].tolist() == [sum(r.convergence.spent for r in results)]


def test_a_dry_run_tells_the_epochs_that_winners_may_get(search, tmp_path, capsbench, in_one_process):
    plan = json.loads(search("--dry-run", "--json").stdout)
    assert [contender["epochs"] for contender in plan["contenders"]] == [[1], [1]]
    answer = capsbench("tune", *LONGER, *SEARCH, "--out", "tuned", "--dry-run", "--json", cwd=tmp_path)
    longer = json.loads(answer.stdout)
    assert [contender["epochs"] for contender in longer["contenders"]] == [[1, 2, 4, 8]] * 2
    answer = capsbench("tune", *LONGER, *SEARCH, "--out", "tuned", "--dry-run", cwd=tmp_path)
    assert f"{2 * (4 + 2 * 3 + 2)} cells" in answer.stdout
    refused = capsbench("tune", *LONGER, *SEARCH, "--space", "epochs=1,2", "--dry-run", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--space" in refused.stderr
