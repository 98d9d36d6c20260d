"""The kernels compiled for two generations of GPUs, in a process without Triton's interpreter."""

import json
import os
import subprocess
import sys
from dataclasses import fields

import pytest

pytest.importorskip("triton", reason="Triton is not installed")
from capsbench_kernels import ArgumentError
from capsbench_kernels.passes.triton.compile import KernelResources, compile_kernels


def run_program(program, **environment):
    """Runs a program with the import path of this process, and returns the JSON that it prints."""
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**inherited, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


PAPERS = """
import json
from dataclasses import asdict
import torch
from capsbench_kernels.bench.layers import LAYERS
from capsbench_kernels.passes.triton.compile import compile_kernels, plan_configurations

launches = [
    *plan_configurations([LAYERS["sabour-digitcaps"]], ["dynamic"], [torch.float32]),
    *plan_configurations([LAYERS["hinton-convcaps1"]], ["em"], [torch.float32]),
]
print(json.dumps([asdict(resources) for resources in compile_kernels((80, 90), launches)]))
"""


@pytest.mark.slow
def test_the_papers_layers_stay_in_registers():
    rows = run_program(PAPERS)
    assert len(rows) == 12
    assert {(row["kernel"], row["target"]) for row in rows} == {
        (kernel, target)
        for kernel in ("forward_kernel", "backward_poses_kernel", "backward_weights_kernel")
        for target in (80, 90)
    }
    for row in rows:
        assert not row["spilled"], row
        assert row["stack"] == 0, row
        assert row["shared"] == 0, row  # no thread exchanges a vote with another: Triton keeps the layout meant
        assert 32 <= row["registers"] <= 255, row


ALL_LAYERS = """
import json
from dataclasses import asdict
import torch
from capsbench_kernels.passes.triton.compile import compile_kernels, plan_configurations

launches = list(plan_configurations(dtypes=[torch.float32]))
print(json.dumps([len(launches), [asdict(resources) for resources in compile_kernels((80, 90), launches)]]))
"""


@pytest.mark.slow
def test_every_layer_and_belief_stays_in_registers():
    count, rows = run_program(ALL_LAYERS)
    assert count > 40
    assert len({(row["kernel"], row["configuration"], row["target"]) for row in rows}) == len(rows) == 2 * count
    assert [row for row in rows if row["spilled"] or row["shared"]] == []


OTHERS = """
import json
from dataclasses import asdict
import torch
from capsbench_kernels.bench.layers import Layer
from capsbench_kernels.passes.triton.compile import compile_kernels, plan_configurations

odd = Layer("odd", "", "em", 3, 5, 7, 3, 3, 3, batch=1, cpu_batch=1)
many = Layer("many parents", "", "em", 3, 5, 70, 1, 2, 2, batch=1, cpu_batch=1)
launches = [
    *plan_configurations([odd], ["every"], [torch.float64]),
    *plan_configurations([many], ["dynamic"], [torch.float16]),
]
print(json.dumps([asdict(resources) for resources in compile_kernels([90], launches)]))
"""


@pytest.mark.slow
def test_other_sizes_options_and_dtypes_compile():
    rows = run_program(OTHERS)
    assert len(rows) == 6
    assert {row["configuration"] for row in rows} == {
        "odd, every, float64",
        "many parents, dynamic, float16",
    }


@pytest.mark.parametrize("target", [70, 95])
def test_a_target_that_cannot_be_compiled_for_is_refused(target):
    with pytest.raises(ArgumentError) as caught:
        compile_kernels([target])
    assert (caught.value.argument, caught.value.value) == ("target", target)
    assert all(str(known) in caught.value.expected for known in (80, 86, 89, 90, 100, 120))


INTERPRETED = """
import json
from capsbench_kernels.passes.triton.compile import compile_kernels

try:
    compile_kernels()
except RuntimeError as error:
    print(json.dumps(str(error)))
"""


def test_the_interpreter_leaves_nothing_to_compile():
    assert "TRITON_INTERPRET" in run_program(INTERPRETED, TRITON_INTERPRET="1")


def test_the_table_has_these_columns():
    names = [field.name for field in fields(KernelResources)]
    assert names == ["kernel", "configuration", "target", "registers", "stack", "shared", "spilled"]
