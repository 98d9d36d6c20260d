"""Pairs of processes with and without a setting of OpenMP's threads."""

import json
import statistics

import pytest
import torch

from capsbench_kernels.bench import build_cases, processes, waiting

PROGRAM = "import os; print([{'1000': 0.5, None: 1.0}[os.environ.get('GOMP_SPINCOUNT')]])"


def test_a_pair_is_a_process_as_imported_and_one_told_not_to_spin(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    said = []
    rows = list(waiting.compare_waiting({"mine": PROGRAM}, pairs=2, threads=3, say=said.append))
    assert [(row["load"], row["pair"]) for row in rows] == [("idle", 0), ("idle", 1), ("busy", 0), ("busy", 1)]
    assert all(set(row) == set(waiting.COLUMNS) for row in rows)
    assert {(row["program"], row["threads"], row["imported_s"], row["passive_s"], row["ratio"]) for row in rows} == {
        ("mine", 3, 1.0, 0.5, 2.0)
    }
    assert said[0] == "mine, idle: pair 1 of 2"


def test_a_busy_machine_has_one_more_process(monkeypatch):
    started = []

    class Process:
        def __init__(self, command, stderr):
            started.append("start")

        def kill(self):
            started.append("kill")

        def wait(self):
            started.append("wait")

    monkeypatch.setattr(processes.subprocess, "Popen", Process)
    monkeypatch.setattr(waiting, "run_program", lambda source, environment: started.append("run") or [1.0])
    list(waiting.compare_waiting({"mine": ""}, pairs=1, threads=None))
    assert started == ["run", "run", "start", "run", "run", "kill", "wait"]


def test_the_order_of_a_pair_alternates(monkeypatch):
    seen = []

    def run_program(source, environment):
        seen.append("GOMP_SPINCOUNT" in environment)
        return [1.0]

    monkeypatch.setattr(waiting, "run_program", run_program)
    monkeypatch.setattr(waiting, "LOADS", ("idle",))
    list(waiting.compare_waiting({"mine": ""}, pairs=2, threads=None))
    assert seen == [False, True, True, False]


def test_a_program_that_fails_says_why():
    with pytest.raises(RuntimeError, match="ValueError: no"):
        list(waiting.compare_waiting({"mine": "raise ValueError('no')"}, pairs=1, threads=None))


def test_a_summary_has_medians_and_an_interval_over_pairs():
    ratios = [1.0, 1.1, 1.2, 1.3, 5.0]
    rows = [
        {
            "program": "mine",
            "load": load,
            "pair": 0,
            "threads": 2,
            "imported_s": ratio,
            "passive_s": 1.0,
            "ratio": ratio,
        }
        for load in waiting.LOADS
        for ratio in (ratios if load == "idle" else [2.0])
    ]
    idle, busy = waiting.summarise_pairs(rows)
    assert (idle["imported_s"], idle["passive_s"], idle["ratio"], idle["pairs"]) == (
        1.2,
        1.0,
        statistics.median(ratios),
        5,
    )
    assert (idle["low"], idle["high"]) == (1.0, 5.0)
    assert (busy["load"], busy["low"], busy["high"]) == ("busy", 2.0, 2.0)


def test_the_program_of_a_case_prints_its_times(capsys):
    (case,) = build_cases(["hinton-class"], [1], [6], [3], [2], device=torch.device("cpu"))
    exec(waiting.describe_case(case, 1e-3, 1), {})
    assert all(0 < seconds < 60 for seconds in json.loads(capsys.readouterr().out))
