"""Programs that are timed in processes of their own."""

import json
import subprocess
import sys

import pytest
import torch

from capsbench_kernels.bench import processes


def test_every_round_is_a_process_of_each_program_and_the_order_alternates(monkeypatch):
    seen = []
    monkeypatch.setattr(processes, "run_program", lambda source, environment: seen.append(source) or [1.0, 2.0])
    times, failed = processes.time_programs({"one": "a", "other": "b"}, rounds=3)
    assert seen == ["a", "b", "b", "a", "a", "b"]
    assert times == {"one": [1.0, 2.0] * 3, "other": [1.0, 2.0] * 3}
    assert failed == {}


def test_no_program_has_a_setting_of_its_users_threads(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    times, _ = processes.time_programs({"mine": "import os; print([len(os.environ.get('GOMP_SPINCOUNT', ''))])"}, 1)
    assert times == {"mine": [0.0]}


def test_a_program_that_fails_is_not_run_again_and_says_why():
    times, failed = processes.time_programs({"mine": "print([0.5])", "bad": "raise ValueError('no')"}, rounds=2)
    assert times == {"mine": [0.5, 0.5], "bad": []}
    assert failed == {"bad": "ValueError: no"}


def test_a_program_that_the_system_ends_names_the_signal():
    kill = "import os, sys; print('a warning', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)"
    with pytest.raises(RuntimeError, match="signal 9"):
        processes.run_program(kill, {})


def test_a_program_imports_what_this_process_does_and_not_what_lies_in_the_folder(tmp_path, monkeypatch):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "durations.py").write_text(f"ALL = [{len(place)}]")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(tmp_path / "there")
    assert processes.run_program("import durations; print(durations.ALL)", processes.read_plain_environment()) == [5]


def test_a_busy_process_ends_with_one_that_the_system_kills():
    kill = (
        "import os\nfrom capsbench_kernels.bench import processes\n"
        "with processes.use_core(): print(os.getpid(), flush=True); os.kill(os.getpid(), 9)"
    )
    # The busy process has the pipe as well: it is read until both have ended.
    done = subprocess.run([sys.executable, "-c", kill], stdout=subprocess.PIPE, check=False, timeout=100)
    assert (done.returncode, len(done.stdout.splitlines())) == (-9, 1)


def test_a_run_that_raises_ends_its_program():
    runs = iter([None, None])
    with pytest.raises(SystemExit, match="failed: StopIteration"):
        processes.print_times(lambda: next(runs), 1e-3, 1, torch.device("cpu"))


def test_times_are_printed_without_the_runs_that_warm_up(capsys):
    runs = []
    processes.print_times(lambda: runs.append("run"), 1e-9, None, torch.device("cpu"))
    assert len(json.loads(capsys.readouterr().out)) == len(runs) - 2 >= 3
