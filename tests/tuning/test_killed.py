"""Searches that are killed, and searches by two commands at once: no trial is lost, and the winners are the same."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from capsbench.records.store import Store
from capsbench.records.tuning.trials import open_trials, read_trials
from capsbench.tuning.tune import tune

SEARCH = dict(routing="uniform", train_size=20, epochs=1, seeds=[0], measure="accuracy", trials=4, studies=2)

COMMAND = [
    sys.executable, "-m", "capsbench", "tune", "--routing", "uniform", "--train-size", "20", "--epochs", "2", "--seeds", "0",
    "--measure", "accuracy", "--trials", "4", "--studies", "2", "--workers", "1",
]  # fmt: skip


def start_search(folder):
    """Starts a search in a process that shares what this one has imported."""
    child = os.fork()
    if child == 0:
        try:
            tune(**SEARCH, out=folder)
            os._exit(0)
        finally:
            os._exit(1)
    return child


def read_choices(folder):
    """Returns the identities of all results: they have the settings of the winners."""
    records, faults = Store(folder).records()
    assert faults == []
    return sorted(record.cell.id for record in records)


@pytest.mark.usefixtures("in_one_process")
@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_a_kill_loses_no_trial_and_changes_no_choice(tmp_path, kills):
    began = time.monotonic()
    os.waitpid(start_search(tmp_path / "unharmed"), 0)
    longest, moments, killed, number = time.monotonic() - began, random.Random(0), 0, 0
    choices = read_choices(tmp_path / "unharmed")
    assert len(choices) == 2 * 2
    while killed < kills:
        number += 1
        folder, before, finished = tmp_path / str(number), {}, False
        while not finished:
            child = start_search(folder)
            if killed < kills:
                time.sleep(moments.uniform(0, longest / 2))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            killed += os.WIFSIGNALED(status)
            finished = os.WIFEXITED(status)
            assert not finished or os.WEXITSTATUS(status) == 0
            trials = {trial.cell.id: trial.training.started for trial in read_trials(folder)}
            assert before.items() <= trials.items()  # a trial on record is not trained again
            before = trials
        assert len(before) == 2 * 4
        assert read_choices(folder) == choices


def wait_for_trials(folder, count):
    """Waits until so many trials are on record."""
    deadline = time.monotonic() + 300
    while len(list(folder.glob("trials/records/*.json"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_two_commands_tune_one_study_together_and_choose_as_one(tmp_path):
    subprocess.run([*COMMAND, "--out", "alone"], cwd=tmp_path, check=True, capture_output=True)
    command, folder = [*COMMAND, "--out", "together"], tmp_path / "together"
    first = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    wait_for_trials(folder, 1)
    os.killpg(first.pid, signal.SIGSTOP)  # so that the second has something left to train, however late it starts
    trials = len(read_trials(folder))
    second = subprocess.Popen(command, cwd=tmp_path)
    wait_for_trials(folder, trials + 1)
    os.killpg(first.pid, signal.SIGCONT)
    assert [process.wait(timeout=300) for process in (first, second)] == [0, 0]
    assert read_choices(tmp_path / "together") == read_choices(tmp_path / "alone")
    runs = open_trials(tmp_path / "together").runs()
    assert len(runs) == 2
    trained = [trial.training.run for trial in read_trials(tmp_path / "together")]
    assert set(trained) == {1, 2}  # each trained some
    assert len(trained) == 8


@pytest.mark.slow
def test_an_interrupted_command_says_how_to_go_on_and_goes_on(tmp_path):
    command = subprocess.Popen(
        [*COMMAND, "--out", "tuned"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    while not list(tmp_path.glob("tuned/trials/records/*.json")):
        time.sleep(0.05)
        assert command.poll() is None
    command.send_signal(signal.SIGINT)
    said, _ = command.communicate(timeout=60)
    assert command.returncode == 130
    assert "capsbench tune" in said
    before = {trial.cell.id: trial.training.started for trial in read_trials(tmp_path / "tuned")}
    assert 0 < len(before) < 8
    subprocess.run([*COMMAND, "--out", "tuned"], cwd=tmp_path, check=True, capture_output=True)
    after = {trial.cell.id: trial.training.started for trial in read_trials(tmp_path / "tuned")}
    assert before.items() <= after.items()
    assert len(after) == 8
