"""Whole training steps beside the usual implementation: that it is the same network, and that a wrong one gets no time."""

import json

import pandas as pd
import pytest
import torch

from capsbench.benching import training_step, training_step_report
from capsbench.errors import Kind, UsageError
from capsbench.networks.build import build_network
from capsbench.presenting.words import TIMES
from capsbench.routing import DynamicRouting, EMRouting

MADE_UP = {"broadcast": [0.4, 0.6, 0.5], "einsum": [0.3, 0.3], "cpu": [0.1, 0.2, 0.2, 0.3], "none": [0.1, 0.1]}
"""Seconds of steps, by contender."""

WORDS = ("--case", "dynamic:tiny", "--dataset", "digits", "--batch", "4", "--threads", "1")

ASKED = dict(batch=4, iterations=2, dataset="digits", threads=1, device="cpu")


@pytest.mark.parametrize("case", ["dynamic:tiny", "em:tiny"])
def test_the_usual_implementation_is_the_same_network(case):
    (cell,) = training_step.cells_to_bench([case], **ASKED)
    torch.manual_seed(0)
    network = build_network(cell).double()
    usual = training_step.to_usual(network)
    images = torch.rand(4, 1, 8, 8, dtype=torch.double)
    torch.testing.assert_close(usual(images), network(images))
    assert any(
        isinstance(module, (training_step.UsualDynamicRouting, training_step.UsualEMRouting))
        for module in usual.modules()
    )
    assert {type(m) for m in network.modules() if isinstance(m, (DynamicRouting, EMRouting))} <= {
        DynamicRouting,
        EMRouting,
    }


@pytest.mark.parametrize("case", ["dynamic:tiny", "em:tiny"])
def test_without_a_routing_all_layers_still_learn(case):
    (cell,) = training_step.cells_to_bench([case], **ASKED)
    network = build_network(cell)
    bare = training_step.to_usual(network, training_step.REPLACEMENTS[training_step.NO_ROUTING])
    bare(torch.rand(4, 1, 8, 8))[:, 0].sum().backward()
    still = {name for name, parameter in bare.named_parameters() if parameter.grad is None or not parameter.grad.any()}
    assert all(".beta_" in name or name.startswith("decoder.") for name in still), still


def test_every_peer_is_the_same_network():
    (cell,) = training_step.cells_to_bench(["dynamic:tiny"], **ASKED)
    torch.manual_seed(0)
    network = build_network(cell).double()
    images = torch.rand(4, 1, 8, 8, dtype=torch.double)
    for implementations in training_step.PEERS.values():
        torch.testing.assert_close(training_step.to_usual(network, implementations)(images), network(images))


@pytest.fixture
def timed(monkeypatch):
    """The programs that would have been timed, with `MADE_UP` as their times."""
    seen = {}

    def time_programs(programs, rounds):
        seen.update(programs, rounds=rounds)
        return {name: MADE_UP[name] for name in programs}, {}

    monkeypatch.setattr(training_step, "time_programs", time_programs)
    return seen


def test_each_contender_is_checked_and_timed_in_processes_of_its_own(timed):
    cells = training_step.cells_to_bench(["dynamic:tiny"], **ASKED)
    broadcast, einsum, fused, bound = training_step.bench_steps(cells, seconds=6, rounds=2, busy=True)
    assert [(row["contender"], row["load"], row["status"]) for row in (broadcast, einsum, fused, bound)] == [
        ("broadcast", "busy", "ok"),
        ("einsum", "busy", "ok"),
        ("cpu", "busy", "ok"),
        ("none", "busy", "ok"),
    ]
    assert (fused["n"], fused["median_s"], fused["times_as_fast"]) == (4, 0.2, 2.5)
    assert max(row["error"] for row in (broadcast, einsum, fused)) < 1e-3
    assert (bound["error"], bound["backend"], bound["times_as_fast"]) == (None, None, 5)
    assert timed["rounds"] == 2
    assert timed["einsum"] == training_step.describe_program(cells[0], 3.0, "einsum")


def test_a_step_without_stored_votes_takes_less_memory(timed):
    broadcast, fused, _ = training_step.bench_steps(training_step.cells_to_bench(["em:tiny"], **ASKED))
    assert fused["peak_bytes"] < broadcast["peak_bytes"]


def test_a_contender_that_fails_in_its_process_gets_no_time(monkeypatch):
    monkeypatch.setattr(
        training_step,
        "time_programs",
        lambda programs, rounds: ({"cpu": [1.0] * 3, "none": [1.0] * 2}, {"broadcast": "out of memory"}),
    )
    broadcast, fused, _ = training_step.bench_steps(training_step.cells_to_bench(["em:tiny"], **ASKED))
    assert (broadcast["status"], broadcast["median_s"]) == ("out of memory", None)
    assert (fused["median_s"], fused["times_as_fast"]) == (1, None)
    for rows in ([broadcast, fused], [broadcast, fused, {**fused, "times_as_fast": 2.0}]):
        readable = training_step_report.to_readable(training_step_report.build_table(rows))
        assert readable["times as fast"].tolist() == ["", "", f"2.0{TIMES}"][: len(rows)]


def test_a_network_that_computes_something_else_gets_no_time(timed, monkeypatch):
    class Wrong(training_step.UsualDynamicRouting):
        def forward(self, poses, weights, activations, offset=None):
            outputs, lengths = super().forward(poses, weights, activations, offset)
            return 1.1 * outputs, 0.9 * lengths

    monkeypatch.setitem(training_step.USUAL, DynamicRouting, Wrong)
    rows = list(training_step.bench_steps(training_step.cells_to_bench(["dynamic:tiny"], **ASKED)))
    for row in rows[1:-1]:
        assert row["status"].startswith("wrong: ")
        assert row["error"] > training_step.LARGEST_ERROR
        assert row["median_s"] is None


@pytest.mark.parametrize("case", ["dynamic", "dinamic:tiny", "em:"])
def test_a_case_is_a_routing_and_a_size(case):
    with pytest.raises(UsageError) as caught:
        training_step.cells_to_bench([case], **ASKED)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "case", case)


def test_the_command_prints_and_writes_a_table(capsbench, tmp_path):
    done = capsbench("kernels", "steps", *WORDS, "--seconds", "0.01", "--rounds", "1", "--out", "made", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "broadcast" in done.stdout
    assert "steps.csv" in done.stdout
    assert "capsnet tiny" in (tmp_path / "made" / "steps.md").read_text()
    rows = pd.read_csv(tmp_path / "made" / "steps.csv")
    assert rows["contender"].tolist() == ["broadcast", "einsum", "cpu", "none"]
    assert rows["n"].min() >= 3


def test_the_command_prints_rows_for_programs(capsbench, timed, tmp_path):
    rows = json.loads(capsbench("kernels", "steps", *WORDS, "--json", cwd=tmp_path).stdout)
    medians = {"broadcast": 0.5, "einsum": 0.3, "cpu": 0.2, "none": 0.1}
    assert {row["contender"]: row["median_s"] for row in rows} == medians


def test_an_interrupt_keeps_the_rows_until_then(capsbench, monkeypatch, tmp_path):
    def time_programs(programs, rounds):
        if "einsum" not in programs:  # those of EM routing
            raise KeyboardInterrupt
        return {name: MADE_UP[name] for name in programs}, {}

    monkeypatch.setattr(training_step, "time_programs", time_programs)
    words = ("--case", "dynamic:tiny,em:tiny", *WORDS[2:], "--out", "made")
    done = capsbench("kernels", "steps", *words, cwd=tmp_path)
    assert done.returncode == 130
    assert "the 4 rows measured so far are in made" in done.stderr
    assert pd.read_csv(tmp_path / "made" / "steps.csv")["contender"].tolist() == ["broadcast", "einsum", "cpu", "none"]
    (tmp_path / "made" / "steps.md").write_text("earlier")
    done = capsbench("kernels", "steps", "--case", "em:tiny", *WORDS[2:], "--out", "made", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert (tmp_path / "made" / "steps.md").read_text() == "earlier"


def test_a_wrong_case_is_exit_code_2(capsbench, tmp_path):
    done = capsbench("kernels", "steps", "--case", "em", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "--case" in done.stderr
    assert "'em'" in done.stderr


def test_the_comparison_of_waits_has_both_loads(capsbench, tmp_path):
    done = capsbench("kernels", "steps", "--waiting", "--busy", cwd=tmp_path)
    assert done.returncode == 2
    assert "--busy" in done.stderr


@pytest.mark.parametrize(
    ("contender", "routing"), [("", DynamicRouting), ("einsum", training_step.EinsumDynamicRouting)]
)
def test_the_program_of_a_cell_prints_the_times_of_its_step(capsys, monkeypatch, contender, routing):
    routings = set()
    monkeypatch.setattr(training_step, "TrainingStep", lambda cell, network: step_of(network, routings))
    (cell,) = training_step.cells_to_bench(
        ["dynamic:tiny"], batch=2, iterations=1, dataset="mnist", threads=1, device="cpu"
    )
    exec(training_step.describe_program(cell, 1e-3, contender), {})
    assert all(0 < seconds < 60 for seconds in json.loads(capsys.readouterr().out))
    assert routings == {routing}


def step_of(network, routings):
    """Returns a step that only computes outputs, and notes the kinds of the network's routings."""
    routings.update(type(module) for module in network.modules() if isinstance(module, DynamicRouting))
    return lambda batch, progress: network(batch.images)
