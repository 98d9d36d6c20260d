"""Runs `cases.py`, each time in a process of its own.

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


@pytest.mark.parametrize(
    "interpret",
    [
        pytest.param("1", id="interpreter"),
        pytest.param("0", id="cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
    ],
)
def test_every_case_passes(interpret):
    command = [sys.executable, "-m", "pytest", CASES, "-q", "-p", "no:cacheprovider", "--durations=10"]
    environment = {**os.environ, "TRITON_INTERPRET": interpret, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^(\d+) passed in", done.stdout, re.MULTILINE)  # and none skipped
    assert passed, done.stdout
    assert int(passed[1]) > 30
