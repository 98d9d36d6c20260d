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
from capsbench_kernels.bench.contenders import by_backend
from capsbench_kernels.bench.floor import Peaks

TINY = ["--batch", "1", "--children", "6", "--parents", "3", "--iters", "1", "--seconds", "0.001"]
TWO = ["--contenders", "broadcast,reference"]


@pytest.fixture
def kernels(capsbench, monkeypatch, tmp_path):
    """`capsbench kernels ...` in an empty folder, at given peaks of the machine."""
    monkeypatch.setattr("capsbench_kernels.bench.measured_peaks", lambda device: Peaks(1e11, 1e10))
    return lambda *arguments: capsbench("kernels", *arguments, cwd=tmp_path)


def contender(monkeypatch, name, route):
    monkeypatch.setitem(CONTENDERS, name, replace(CONTENDERS[name], route=route))


def test_bench_prints_a_table_and_writes_table_and_pictures(kernels, tmp_path):
    done = kernels("bench", *TINY, *TWO, "--layer", "sabour-digitcaps,hinton-class")
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
    contender(monkeypatch, "reference", lambda case, inputs: (2 * by_backend("reference")(case, inputs)[0],))
    done = kernels("bench", *TINY, *TWO, "--layer", "sabour-digitcaps")
    assert done.returncode == 3
    assert "capsbench: sabour-digitcaps, batch 1, float32: reference: wrong: parent poses: off by" in done.stderr
    rows = pd.read_csv(tmp_path / "results" / "kernels" / "kernels.csv").set_index("contender")
    assert rows.loc["reference", "median_s"].isna().all()
    assert rows.loc["broadcast", "median_s"].notna().all()


def test_nothing_that_could_be_timed_is_exit_code_4(kernels, monkeypatch):
    def without_memory(case, inputs):
        raise MemoryError

    contender(monkeypatch, "broadcast", without_memory)
    done = kernels("bench", *TINY, "--contenders", "broadcast", "--layer", "sabour-digitcaps")
    assert done.returncode == 4
    assert "none of them could be timed: out of memory" in done.stderr


def test_an_interrupt_keeps_the_rows_until_then(kernels, monkeypatch, tmp_path):
    def interrupted(case, inputs):
        if case.iterations == 2:
            raise KeyboardInterrupt
        return by_backend("reference")(case, inputs)

    contender(monkeypatch, "reference", interrupted)
    done = kernels("bench", *TINY, *TWO, "--layer", "sabour-digitcaps", "--iters", "1,2")
    assert done.returncode == 130
    assert "interrupted; the 4 rows measured until then are in results/kernels" in done.stderr
    assert set(pd.read_csv(tmp_path / "results" / "kernels" / "kernels.csv")["iterations"]) == {1}

    (tmp_path / "results" / "kernels" / "kernels.md").write_text("earlier")
    done = kernels("bench", *TINY, *TWO, "--layer", "sabour-digitcaps", "--iters", "2")
    assert (done.returncode, done.stdout) == (130, "")
    assert (tmp_path / "results" / "kernels" / "kernels.md").read_text() == "earlier"
    assert not (tmp_path / "results" / "kernels" / "kernels.partial.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "hinton-clas"], "--layer: unknown 'hinton-clas'; did you mean 'hinton-class'? choose from "),
        (["--layer", ""], "--layer: unknown ''; choose from sabour-digitcaps, "),
        (["--batch", "0"], "--batch: expected whole numbers from 1 to 1,000,000, separated by commas, got '0'"),
        (["--children", "8,x"], "--children: expected whole numbers from 1 to 1,000,000, separated by commas, got '8,x'"),
        (["--parents", "-1"], "--parents: expected whole numbers"),
        (["--iters", "1,,2"], "--iters: expected whole numbers"),
        (["--dtype", "float64"], "--dtype: unknown 'float64'; did you mean 'float16'? choose from float32, bfloat16"),
        (["--contenders", "mine"], "--contenders: unknown 'mine'; choose from broadcast, broadcast-compiled, "),
        (["--threads", "4096"], f"--threads: expected 1 to {len(os.sched_getaffinity(0))}, the cores of this machine, got 4096"),
        (["--threads", "0"], "--threads"),
        (["--seconds", "0"], "--seconds: expected a number above 0, got 0"),
        (["--seconds", "inf"], "--seconds: expected a number above 0, got inf"),
        (["--batch", "1" + 15 * "0"], "--batch: expected whole numbers from 1 to 1,000,000"),
        (["--device", "mine"], "--device: unknown 'mine'; choose from auto, cpu, cuda"),
        (["--out", "a-file"], "a-file: the report cannot be written there"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line_and_exit_code_2(kernels, tmp_path, arguments, message):
    (tmp_path / "a-file").write_text("")
    done = kernels("bench", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there_is_refused(kernels):
    done = kernels("bench", "--device", "cuda")
    assert (done.returncode, done.stderr) == (
        2, "capsbench: --device cuda: torch finds no CUDA device here; cpu would do\n",
    )  # fmt: skip


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

        module = ModuleType("capsbench_kernels.compile")
        module.compile_kernels = compile_kernels
        monkeypatch.setitem(sys.modules, "capsbench_kernels.compile", module)
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


def test_compile_without_triton_or_with_a_wrong_target_is_one_line(kernels, monkeypatch, compiled):
    assert kernels("compile", "--target", "sm_90").returncode == 2
    unknown = kernels("compile", "--target", "70")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("capsbench: --target: expected a compute capability of 80,")
    monkeypatch.setitem(sys.modules, "capsbench_kernels.compile", None)
    done = kernels("compile")
    assert done.returncode == 2
    assert "kernels compile: needs the package" in done.stderr
    assert len(done.stderr.splitlines()) == 1
