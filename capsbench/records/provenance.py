"""What has to be known of a machine and its software to trust a number."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch


@cache
def provenance() -> dict[str, Any]:
    """Versions, source state and hardware, by name; None where a thing does not exist here."""
    commit, dirty = _source_state()
    cuda = torch.cuda.is_available()
    return {
        "capsbench": installed("capsbench"),
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": installed("triton"),
        "numba": installed("numba"),
        "numpy": installed("numpy"),
        "torchvision": installed("torchvision"),
        "cuda": torch.version.cuda if cuda else None,
        "driver": _first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if cuda else None,
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "gomp_spincount": os.environ.get("GOMP_SPINCOUNT"),
        "platform": platform.platform(),
    }


def installed(distribution: str) -> str | None:
    """The version of an installed distribution."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _source_state() -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the checkout this package runs from; None where it is installed from a wheel."""
    package = Path(__file__).parent
    # An environment may lie inside somebody's repository: only a tracked file makes that repository ours.
    if _first_line("git", "-C", str(package), "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None, None
    status = _output("git", "-C", str(package), "status", "--porcelain", "--untracked-files=no")
    return _first_line("git", "-C", str(package), "rev-parse", "HEAD"), None if status is None else bool(status)


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _first_line(*command: str) -> str | None:
    output = _output(*command)
    return output.splitlines()[0] if output else None


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
