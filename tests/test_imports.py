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

COMMAND = "from capsbench.cli.commands import app; app({words!r}, standalone_mode=False)"

FOLDER = str(Path(__file__).parent.parent / "results" / "reference" / "hinton2018-tiny")

PLAN = "from capsbench.api import plan; assert len(plan(routing=['em', 'dynamic'], seeds=0).cells) == 4"

FIRST_ROUTING = """
import torch
from capsbench_kernels import dynamic_routing, em_routing
poses, weights, ones = torch.ones(2, 3, 2, 2, requires_grad=True), torch.ones(3, 2, 2, 2), torch.ones(2)
dynamic_routing(poses, weights, backend="cpu").sum().backward()
means, _ = em_routing(poses, weights, torch.ones(2, 3), ones, ones, 1, inverse_temperature=[1.0], backend="cpu")
means.sum().backward()
"""

OF_TORCH = {"torch", "numpy", "triton"}
"""What torch imports."""

STAGES = [
    *((words, COMMAND.format(words=words.split()), set()) for words in ("--help", "run --help", "report --help")),
    *(
        (words, COMMAND.format(words=[*words.split(), "--out", FOLDER]), {"numpy"})
        for words in ("status --json", "prune")
    ),
    *((words, COMMAND.format(words=words.split()), OF_TORCH) for words in ("list", "data verify digits")),
    ("plan", PLAN, OF_TORCH),
    ("first routing", FIRST_ROUTING, {*OF_TORCH, "numba", "scipy"}),  # and not torch's compiler
]
"""What one process does in this order, and what of `HEAVY` it may import for it: each step as much as the one before, or more."""

WORKER = """
import importlib
from pathlib import Path
from capsbench.running.executors.processes import PRELOADED
for module in PRELOADED:
    importlib.import_module(module)
from capsbench.data.base import load_splits
load_splits("digits", Path("nowhere"))
"""

PRINT = "import json, sys; print('\\nimported', json.dumps([*sys.modules]))"


def run_steps(*steps: str) -> list[set[str]]:
    """What of `HEAVY` a process has imported after each of some steps."""
    code = "\n".join(f"{step}\n{PRINT}" for step in steps)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    printed = [line.removeprefix("imported ") for line in done.stdout.splitlines() if line.startswith("imported ")]
    return [HEAVY & {*json.loads(line)} for line in printed]


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """Name of a step -> what it imports."""
    after = run_steps(*(code for _, code, _ in STAGES))
    return {name: now - before for (name, _, _), before, now in zip(STAGES, [set(), *after], after, strict=False)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "allowed"), [(name, allowed) for name, _, allowed in STAGES], ids=[name for name, _, _ in STAGES]
)
def test_what_takes_long_is_imported_by_who_needs_it(
    imported: dict[str, set[str]], name: str, allowed: set[str]
) -> None:
    assert imported[name] <= allowed


@pytest.mark.slow
def test_a_worker_imports_what_every_network_needs() -> None:
    needed = {"torch", "torch._dynamo", "numpy", "triton", "numba", "scipy", "sympy"}
    (after,) = run_steps(WORKER)
    assert after <= needed
