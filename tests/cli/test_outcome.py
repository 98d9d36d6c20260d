"""What `capsbench run` and `capsbench measure` say in the end."""

from __future__ import annotations

import json

import pytest
import typer

from capsbench.cli.outcome import print_outcome, print_outcome_of_trials
from capsbench.running.outcome import Outcome


@pytest.mark.parametrize(
    ("left", "trained", "words"),
    [
        (["a"], [], "interrupted; 1 cell is left; to continue"),
        (["a", "b"], [], "interrupted; 2 cells are left; to continue"),
        (["a", "b"], ["b"], "interrupted; 2 cells are left (1 of them trained, and to be measured); to continue"),
    ],
)
def test_the_line_of_an_interruption_counts_what_is_left(left, trained, words, tmp_path, capsys):
    outcome = Outcome(finished=[], on_record=[], failed=[], left=left, trained=trained, interrupted=True)
    with pytest.raises(typer.Exit) as caught:
        print_outcome(outcome, tmp_path, as_json=False)
    assert caught.value.exit_code == 130
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("show", [print_outcome, print_outcome_of_trials])
def test_a_program_reads_the_outcome_of_an_interrupted_run(show, tmp_path, capsys):
    outcome = Outcome(left=["a"], interrupted=True)
    with pytest.raises(typer.Exit):
        show(outcome, tmp_path, as_json=True)
    told = capsys.readouterr()
    assert json.loads(told.out)["left"] == ["a"]
    assert "1 cell is left" in told.err


@pytest.mark.parametrize(("detached", "words"), [(1, "1 job is in Slurm's queue"), (2, "2 jobs are in Slurm's queue")])
def test_detached_jobs_are_counted(detached, words, tmp_path, capsys):
    outcome = Outcome(
        finished=[], on_record=[], failed=[], left=["a"], trained=[], interrupted=False, detached=detached
    )
    print_outcome(outcome, tmp_path, as_json=False)
    assert words in capsys.readouterr().out
