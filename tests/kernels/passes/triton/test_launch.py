"""Runs `cases.py` and `operator_cases.py` in processes of their own, a part of the cases in each.

Triton's interpreter has to be chosen before anything imports Triton, and torchvision imports it in most other tests.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

CASES = Path(__file__).with_name("cases.py")
NAMES = re.findall(r"^def (test_\w+)", CASES.read_text(), re.MULTILINE)
PARTS = [
    pytest.param(NAMES[::3], id="a third"),
    pytest.param([name for name in NAMES if name not in NAMES[::3]], id="the others", marks=pytest.mark.slow),
]


PLACES = pytest.mark.parametrize(
    "interpret",
    [
        pytest.param("1", id="interpreter"),
        pytest.param("0", id="cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
    ],
)


@pytest.mark.parametrize("names", PARTS)
@PLACES
def test_every_case_passes(interpret, names):
    assert count_passed([f"{CASES}::{name}" for name in names], interpret) > len(names) > 5


@pytest.mark.slow
@PLACES
def test_the_operators_are_sound(interpret):
    assert count_passed([str(CASES.with_name("operator_cases.py"))], interpret) == 4


def count_passed(cases, interpret):
    """Runs the cases, which all have to pass, and returns their number."""
    command = [sys.executable, "-m", "pytest", *cases, "-q", "-p", "no:cacheprovider", "--durations=10"]
    environment = {**os.environ, "TRITON_INTERPRET": interpret, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^(\d+) passed in", done.stdout, re.MULTILINE)  # and none skipped
    assert passed, done.stdout
    return int(passed[1])
