"""`capsbench kernels` as a person types it, on problems of a few children."""

import json
import os
import sys
from dataclasses import dataclass, replace
from types import ModuleType

import pandas as pd
import pytest
import torch

from capsbench_kernels.bench import CONTENDERS
from capsbench_kernels.bench.contenders import make_route
from capsbench_kernels.bench.floor import Peaks

TINY = ["--batch", "1", "--children", "6", "--parents", "3", "--seconds", "0.001"]
ONCE = ["--iters", "1"]
TWO = ["--contenders", "broadcast,reference"]


@pytest.fixture
def kernels(capsbench, monkeypatch, tmp_path):
    """`capsbench kernels ...` in an empty folder, at given peaks of the machine."""
    monkeypatch.setattr("capsbench_kernels.bench.measure_peaks", lambda device: Peaks(1e11, 1e10))
    return lambda *arguments: capsbench("kernels", *arguments, cwd=tmp_path)


def contender(monkeypatch, name, route):
    monkeypatch.setitem(CONTENDERS, name, replace(CONTENDERS[name], route=route))


def test_bench_prints_a_table_and_writes_table_and_pictures(kernels, tmp_path):
    done = kernels("bench", *TINY, *ONCE, *TWO, "--layer", "sabour-digitcaps,hinton-class")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("reference") == 2
    assert "measured peaks" in done.stdout
    assert "sabour-digitcaps, batch 1, 6 x 3, 1 iterations, float32: timing forward\n" in done.stderr
    folder = tmp_path / "results" / "kernels"
    assert len(pd.read_csv(folder / "kernels.csv")) == 2 * 2 * 2
    assert {path.suffix for path in folder.iterdir()} == {".csv", ".md", ".png", ".svg"}
    assert "capsbench kernels bench --batch 1" in (folder / "kernels.md").read_text()


def test_bench_sweeps_comma_lists_and_prints_json(kernels, tmp_path):
    swept = ["--iters", "1,2", "--dtype", "float32,bfloat16", "--out", "mine", "--threads", "1", "--device", "cpu"]
    done = kernels("bench", *TINY, *TWO, *swept, "--layer", "hinton-class", "--json")
    rows = json.loads(done.stdout)
    assert {(row["iterations"], row["dtype"]) for row in rows} == {
        (iterations, dtype) for iterations in (1, 2) for dtype in ("float32", "bfloat16")
    }
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["threads"] for row in rows} == {1}
    assert (tmp_path / "mine" / "kernels-iterations.png").exists()


def test_a_wrong_contender_is_exit_code_3_after_all_is_written(kernels, monkeypatch, tmp_path):
    contender(monkeypatch, "reference", lambda case, inputs: (2 * make_route("reference")(case, inputs)[0],))
    done = kernels("bench", *TINY, *ONCE, *TWO, "--layer", "sabour-digitcaps")
    assert done.returncode == 3
    assert "capsbench: sabour-digitcaps, batch 1, float32: reference: wrong: parent poses: off by" in done.stderr
    rows = pd.read_csv(tmp_path / "results" / "kernels" / "kernels.csv").set_index("contender")
    assert rows.loc["reference", "median_s"].isna().all()
    assert rows.loc["broadcast", "median_s"].notna().all()


def test_nothing_that_could_be_timed_is_exit_code_4(kernels, monkeypatch):
    def without_memory(case, inputs):
        raise MemoryError

    contender(monkeypatch, "broadcast", without_memory)
    done = kernels("bench", *TINY, *ONCE, "--contenders", "broadcast", "--layer", "sabour-digitcaps")
    assert done.returncode == 4
    assert "capsbench: --contenders broadcast: " in done.stderr
    assert "out of memory" in done.stderr


def test_an_interrupt_keeps_the_rows_until_then(kernels, monkeypatch, tmp_path):
    def interrupted(case, inputs):
        if case.iterations == 2:
            raise KeyboardInterrupt
        return make_route("reference")(case, inputs)

    contender(monkeypatch, "reference", interrupted)
    done = kernels("bench", *TINY, *TWO, "--layer", "sabour-digitcaps", "--iters", "1,2")
    assert done.returncode == 130
    assert "interrupted; the 4 rows measured so far are in results/kernels" in done.stderr
    assert set(pd.read_csv(tmp_path / "results" / "kernels" / "kernels.csv")["iterations"]) == {1}

    (tmp_path / "results" / "kernels" / "kernels.md").write_text("earlier")
    done = kernels("bench", *TINY, *TWO, "--layer", "sabour-digitcaps", "--iters", "2")
    assert (done.returncode, done.stdout) == (130, "")
    assert (tmp_path / "results" / "kernels" / "kernels.md").read_text() == "earlier"
    assert not (tmp_path / "results" / "kernels" / "kernels.partial.csv").exists()


@pytest.mark.parametrize(
    ("flag", "value", "right"),
    [
        ("--layer", "hinton-clas", "'hinton-class'"),
        ("--layer", "", "sabour-digitcaps, "),
        ("--batch", "0", "1 to 1,000,000"),
        ("--children", "8,x", "1 to 1,000,000"),
        ("--parents", "-1", "1 to 1,000,000"),
        ("--iters", "1,,2", "1 to 1,000,000"),
        ("--dtype", "float64", "'float16'"),
        ("--contenders", "mine", "broadcast, broadcast-compiled, "),
        ("--threads", "4096", f"1 to {len(os.sched_getaffinity(0))}"),
        ("--seconds", "0", "above 0"),
        ("--seconds", "inf", "above 0"),
        ("--batch", "1" + 15 * "0", "1 to 1,000,000"),
        ("--device", "mine", "auto, cpu, cuda"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(kernels, tmp_path, flag, value, right):
    done = kernels("bench", flag, value)
    assert done.returncode == 2, done.stderr
    assert [fact for fact in (flag, value, right) if fact not in done.stderr] == []
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert not (tmp_path / "results").exists()


def test_a_number_below_its_least_is_exit_code_2(kernels):
    done = kernels("bench", "--threads", "0")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "--threads" in done.stderr


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(kernels, tmp_path):
    (tmp_path / "a-file").write_text("")
    done = kernels("bench", "--out", "a-file")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("capsbench: --out a-file: ")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there_is_refused(kernels):
    done = kernels("bench", "--device", "cuda")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("capsbench: --device cuda: ")


@dataclass(frozen=True)
class Resources:
    kernel: str
    configuration: str
    target: int
    registers: int
    stack: int
    shared: int
    spilled: bool


@pytest.fixture
def compiled(monkeypatch):
    """Puts a compiler of given results in the place of the real one; gives the targets that it was asked for."""
    asked = []

    def install(spilled=False):
        def compile_kernels(targets):
            asked.extend(targets)
            return [Resources("forward", "default", target, 128, 0, 4096, spilled) for target in targets]

        module = ModuleType("capsbench_kernels.passes.triton.compile")
        module.compile_kernels, module.TARGETS = compile_kernels, (80, 90)
        monkeypatch.setitem(sys.modules, "capsbench_kernels.passes.triton.compile", module)
        return asked

    return install


def test_compile_prints_what_each_kernel_takes(kernels, compiled):
    asked = compiled()
    done = kernels("compile")
    assert done.returncode == 0, done.stderr
    assert asked == [80, 90]
    assert done.stdout.split()[:7] == ["kernel", "configuration", "target", "registers", "stack", "shared", "spilled"]
    rows = json.loads(kernels("compile", "--target", "90", "--json").stdout)
    assert [(row["target"], row["registers"]) for row in rows] == [(90, 128)]


def test_a_configuration_that_spills_is_exit_code_3(kernels, compiled):
    compiled(spilled=True)
    done = kernels("compile", "--target", "80")
    assert done.returncode == 3
    assert done.stderr == "capsbench: forward (default) on sm_80 spills registers, with 0 bytes of stack\n"


def test_compile_for_a_wrong_target_is_one_line(kernels, compiled):
    assert compiled() == []
    for target in ("sm_90", "70"):
        done = kernels("compile", "--target", target)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert done.stderr.startswith("capsbench: --target: ")
        assert target in done.stderr


def test_compile_without_what_it_needs_is_one_line(kernels, monkeypatch):
    monkeypatch.setitem(sys.modules, "capsbench_kernels.passes.triton.compile", None)
    done = kernels("compile")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "kernels compile: " in done.stderr


QUICK = "import os; print([0.002 if 'GOMP_SPINCOUNT' in os.environ else 0.003])"


@pytest.mark.parametrize("command", ["bench", "steps"])
def test_waiting_compares_pairs_of_processes_instead(kernels, monkeypatch, tmp_path, command):
    monkeypatch.setattr("capsbench_kernels.bench.waiting.describe_case", lambda case, seconds, threads: QUICK)
    monkeypatch.setattr("capsbench.benching.training_step.describe_program", lambda cell, seconds: QUICK)
    done = kernels(command, "--waiting", "--pairs", "2", "--out", "mine")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("1.50 (1.50 to 1.50)") == 4
    assert len(pd.read_csv(tmp_path / "mine" / "waiting.csv")) == 2 * 2 * 2
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"waiting.csv", "waiting.md"}
    rows = json.loads(kernels(command, "--waiting", "--pairs", "1", "--out", "mine", "--json").stdout)
    assert {row["ratio"] for row in rows} == {1.5}


def test_a_program_of_waiting_that_fails_is_exit_code_3(kernels, monkeypatch):
    monkeypatch.setattr("capsbench_kernels.bench.waiting.describe_case", lambda *arguments: "raise ValueError('no')")
    done = kernels("bench", "--waiting", "--pairs", "1")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (3, "capsbench: ValueError: no")


def test_pairs_of_waiting_outlive_an_interruption(kernels, monkeypatch, tmp_path):
    durations = iter([0.003, 0.002])

    def run_program(source, environment):
        try:
            return [next(durations)]
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("capsbench_kernels.bench.waiting.run_program", run_program)
    done = kernels("bench", "--waiting", "--out", "mine")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        130,
        "interrupted; the pairs measured so far (1) are in mine",
    )
    assert pd.read_csv(tmp_path / "mine" / "waiting.csv")["ratio"].tolist() == [1.5]
