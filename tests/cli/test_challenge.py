"""`capsbench challenge`, from one command to an answer."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from capsbench.records.record import Row
from capsbench.records.store import Store
from capsbench.records.tuning.trials import read_trials
from capsbench.running.outcome import Outcome
from capsbench.tuning.tuner import Tuned
from tests.making import make_capsules, make_record

ACCURACY = [Row("accuracy", "accuracy", "test", 0.9, "fraction")]

QUICK = ("--train-size", "30", "--epochs", "1", "--seeds", "0", "--measure", "accuracy", "--workers", "1")


@pytest.mark.usefixtures("in_one_process", "without_pictures")
def test_a_challenge_ends_with_an_answer(capsbench, tmp_path):
    Store(tmp_path / "mine").write(make_record(make_capsules(dataset="digits"), ACCURACY))  # of an earlier challenge
    words = ("uniform", "--against", "dynamic", "--budget", "2", "--studies", "1", *QUICK)
    answer = capsbench("challenge", *words, "--out", "mine", cwd=tmp_path)
    assert answer.returncode == 0
    records = [record for record in Store(tmp_path / "mine").records()[0] if record.tuning]
    assert {record.cell.network for record in records} == {"capsnet", "matched"}
    assert {record.cell.routing for record in records} == {"uniform", "dynamic", None}
    assert len(read_trials(tmp_path / "mine")) == 3 * 2
    # The time is told before, and the answer behind.
    assert answer.stdout.index(" cells, ") < answer.stdout.index("was not tested")
    assert (tmp_path / "mine" / "report" / "index.html").exists()
    table = pd.read_csv(tmp_path / "mine" / "report" / "table.csv")
    assert sorted(table["routing"].fillna("matched")) == ["dynamic", "matched", "uniform"]
    again = capsbench("challenge", *words, "--out", "mine", cwd=tmp_path)
    assert "9 cells, 0 to run" in again.stdout
    told = json.loads(capsbench("challenge", *words, "--out", "mine", "--json", cwd=tmp_path).stdout)
    assert (len(told["on_record"]), told["failed"], told["without_winner"]) == (3, [], [])
    assert told["answer"]["sentences"][0]["lead"] in again.stdout.replace("\n", " ")
    assert {"dynamic", "matched"} <= {number["rival_name"].split()[0] for number in told["answer"]["numbers"]}
    assert told["page"] == "mine/report/index.html"


def test_a_contender_whose_trainings_failed_gets_no_answer(capsbench, monkeypatch, tmp_path):
    Store(tmp_path / "mine").write(make_record(make_capsules(), ACCURACY))  # of its rival
    tuned = Tuned(Outcome(), Outcome(), ["uniform, study 1"])
    monkeypatch.setattr("capsbench.tuning.challenge.challenge", lambda *_, **how: tuned)
    answer = capsbench("challenge", "uniform", "--out", "mine", cwd=tmp_path)
    assert (answer.returncode, answer.stderr) == (3, "")
    assert "uniform" in answer.stdout.splitlines()[-1]
    told = json.loads(capsbench("challenge", "uniform", "--out", "mine", "--json", cwd=tmp_path).stdout)
    assert (told["answer"], told["without_winner"]) == (None, ["uniform, study 1"])


def test_a_dry_run_tells_the_time_and_runs_nothing(capsbench, in_one_process, tmp_path):
    answer = capsbench("challenge", "uniform", "--budget", "4", *QUICK, "--dry-run", cwd=tmp_path)
    assert answer.returncode == 0
    assert "em" in answer.stdout
    plan = json.loads(
        capsbench("challenge", "uniform", "--budget", "4", *QUICK, "--dry-run", "--json", cwd=tmp_path).stdout
    )
    assert (plan["cells"], plan["left"]) == (
        5 * 8,
        5 * 8,
    )  # the contender, two rivals and their CNNs, one of which has other parameters
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("dynamo",),
        ("em", "--routing", "dynamic"),
        ("em", "--budget", "5"),
        ("em", "--agains", "x"),
        ("em", "--trials", "8"),
        ("em", "--against", "capsnet"),
    ],
)
def test_wrong_words_are_refused_in_a_line(capsbench, words, tmp_path):
    answer = capsbench("challenge", *words, *QUICK, cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
