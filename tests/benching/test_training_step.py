"""Whole training steps beside the usual implementation: that it is the same network, and that a wrong one gets no time."""

import json

import pytest
import torch

from capsbench.benching import training_step
from capsbench.errors import Kind, UsageError
from capsbench.networks.build import build_network
from capsbench.routing import DynamicRouting, EMRouting

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


def test_every_peer_is_the_same_network():
    (cell,) = training_step.cells_to_bench(["dynamic:tiny"], **ASKED)
    torch.manual_seed(0)
    network = build_network(cell).double()
    images = torch.rand(4, 1, 8, 8, dtype=torch.double)
    for implementations in training_step.PEERS.values():
        torch.testing.assert_close(training_step.to_usual(network, implementations)(images), network(images))


def test_steps_are_timed_beside_a_process_that_uses_a_core():
    cells = training_step.cells_to_bench(["dynamic:tiny"], **ASKED)
    rows = list(training_step.bench_steps(cells, seconds=0.01, busy=True))
    assert [(row["contender"], row["load"]) for row in rows] == [
        ("broadcast", "busy"),
        ("einsum", "busy"),
        ("cpu", "busy"),
    ]


def test_each_contender_is_checked_and_timed():
    rows = list(training_step.bench_steps(training_step.cells_to_bench(["em:tiny"], **ASKED), seconds=0.01))
    assert [(row["contender"], row["status"]) for row in rows] == [("broadcast", "ok"), ("cpu", "ok")]
    assert all(row["n"] >= 3 and row["error"] < 1e-3 for row in rows)
    assert rows[0]["times_as_fast"] == 1
    assert rows[1]["times_as_fast"] == rows[0]["median_s"] / rows[1]["median_s"]
    assert rows[1]["peak_bytes"] < rows[0]["peak_bytes"]


def test_a_network_that_computes_something_else_gets_no_time(monkeypatch):
    class Wrong(training_step.UsualDynamicRouting):
        def forward(self, poses, weights, activations, offset=None):
            outputs, lengths = super().forward(poses, weights, activations, offset)
            return 1.1 * outputs, 0.9 * lengths

    monkeypatch.setitem(training_step.USUAL, DynamicRouting, Wrong)
    rows = list(training_step.bench_steps(training_step.cells_to_bench(["dynamic:tiny"], **ASKED), seconds=0.01))
    for row in rows[1:]:
        assert row["status"].startswith("wrong: ")
        assert row["error"] > training_step.LARGEST_ERROR
        assert row["median_s"] is None


@pytest.mark.parametrize("case", ["dynamic", "dinamic:tiny", "em:"])
def test_a_case_is_a_routing_and_a_size(case):
    with pytest.raises(UsageError) as caught:
        training_step.cells_to_bench([case], **ASKED)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "case", case)


def test_the_command_prints_and_writes_a_table(capsbench, tmp_path):
    asked = ["--case", "dynamic:tiny", "--dataset", "digits", "--batch", "4", "--seconds", "0.01", "--threads", "1"]
    done = capsbench("kernels", "steps", *asked, "--out", "made", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "broadcast" in done.stdout
    assert "steps.csv" in done.stdout
    assert "capsnet tiny" in (tmp_path / "made" / "steps.md").read_text()
    rows = json.loads(capsbench("kernels", "steps", *asked, "--json", cwd=tmp_path).stdout)
    assert [row["contender"] for row in rows] == ["broadcast", "einsum", "cpu"]


def test_a_wrong_case_is_exit_code_2(capsbench, tmp_path):
    done = capsbench("kernels", "steps", "--case", "em", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "--case" in done.stderr
    assert "'em'" in done.stderr


def test_the_comparison_of_waits_has_both_loads(capsbench, tmp_path):
    done = capsbench("kernels", "steps", "--waiting", "--busy", cwd=tmp_path)
    assert done.returncode == 2
    assert "--busy" in done.stderr


def test_the_program_of_a_cell_prints_the_time_of_its_step(capsys):
    (cell,) = training_step.cells_to_bench(
        ["dynamic:tiny"], batch=2, iterations=1, dataset="mnist", threads=1, device="cpu"
    )
    exec(training_step.describe_program(cell, 1e-3), {})
    assert 0 < float(capsys.readouterr().out) < 60
