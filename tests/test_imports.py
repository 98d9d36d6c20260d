"""What takes long to import is imported by who needs it alone; each in a process that has imported nothing yet."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    *(
        "torch",
        "torch._dynamo",
        "torchvision",
        "triton",
        "numba",
        "numpy",
        "pandas",
        "pyarrow",
        "matplotlib",
        "seaborn",
    ),
    *("sklearn", "sklearn.datasets", "scipy", "scipy.stats", "scipy.io", "jinja2", "PIL", "joblib", "sympy"),
}

COMMAND = """
from capsbench.cli.commands import app
app({words!r}, standalone_mode=False)
"""

WORKER = """
import importlib
from pathlib import Path
from capsbench.running.executors.processes import PRELOADED
for module in PRELOADED:
    importlib.import_module(module)
from capsbench.data.base import load_splits
load_splits("digits", Path("nowhere"))
"""


def imported_by(code: str) -> set[str]:
    """What of `HEAVY` some code imports."""
    ending = "\nimport json, sys\nprint('\\n' + json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code + ending], capture_output=True, text=True, check=True)
    return HEAVY & {*json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["report", "--help"]], ids=" ".join)
def test_help_imports_nothing_that_takes_long(words: list[str]) -> None:
    assert imported_by(COMMAND.format(words=words)) == set()


@pytest.mark.parametrize("words", [["list"], ["data", "verify", "digits"]], ids=" ".join)
def test_commands_about_what_there_is_import_torch_alone(words: list[str]) -> None:
    assert imported_by(COMMAND.format(words=words)) <= {"torch", "numpy", "triton"}  # torch imports them


@pytest.mark.parametrize("words", [["status", "--json"], ["prune"]], ids=" ".join)
def test_commands_about_a_folder_import_numpy_alone(words: list[str]) -> None:
    folder = Path(__file__).parent.parent / "results" / "reference" / "hinton2018-tiny"
    assert imported_by(COMMAND.format(words=[*words, "--out", str(folder)])) <= {"numpy"}


def test_a_plan_imports_torch_without_its_compiler() -> None:
    code = "from capsbench.api import plan; assert len(plan(routing=['em', 'dynamic'], seeds=0).cells) == 4"
    assert imported_by(code) <= {"torch", "numpy", "triton"}


def test_a_first_routing_imports_numba_and_not_torch_s_compiler() -> None:
    code = """
import torch
from capsbench_kernels import dynamic_routing, em_routing
poses, weights, ones = torch.ones(2, 3, 2, 2, requires_grad=True), torch.ones(3, 2, 2, 2), torch.ones(2)
dynamic_routing(poses, weights, backend="cpu").sum().backward()
means, _ = em_routing(poses, weights, torch.ones(2, 3), ones, ones, 1, inverse_temperature=[1.0], backend="cpu")
means.sum().backward()
"""
    assert imported_by(code) <= {"torch", "numpy", "triton", "numba", "scipy"}


def test_a_worker_imports_what_every_network_needs() -> None:
    needed = {"torch", "torch._dynamo", "numpy", "triton", "numba", "scipy", "sympy"}
    assert imported_by(WORKER) <= needed
