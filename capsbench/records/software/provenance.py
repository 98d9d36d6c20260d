"""Facts about the machine and its software, recorded with every number."""

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

from capsbench.records.sharing.process import NODE


@cache
def provenance() -> dict[str, Any]:
    """Returns versions, source state and hardware by name; None for what does not exist on this machine."""
    commit, dirty = read_source_state()
    cuda = torch.cuda.is_available()
    return {
        "capsbench": installed_version("capsbench"),
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": installed_version("triton"),
        "numba": installed_version("numba"),
        "numpy": installed_version("numpy"),
        "torchvision": installed_version("torchvision"),
        "cuda": torch.version.cuda if cuda else None,
        "driver": _first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if cuda else None,
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "cpu": _cpu_name(),
        # Processors of one name differ in it, and kernels for other vectors sum in another order.
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "gomp_spincount": os.environ.get("GOMP_SPINCOUNT"),
        "platform": platform.platform(),
        "node": os.environ.get(NODE) or os.environ.get("SLURMD_NODENAME"),
    }


def installed_version(distribution: str) -> str | None:
    """Returns the version of a distribution; None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


@cache
def read_source_state() -> tuple[str | None, bool | None]:
    """Returns the commit and the dirty flag of this package's checkout at the first call; None outside of a checkout."""
    package = Path(__file__).parent
    # A virtual environment may lie inside another repository: it is our checkout only if git tracks this file.
    if _first_line("git", "-C", str(package), "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None, None
    status = _output_of("git", "-C", str(package), "status", "--porcelain", "--untracked-files=no")
    return _first_line("git", "-C", str(package), "rev-parse", "HEAD"), None if status is None else bool(status)


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _first_line(*command: str) -> str | None:
    output = _output_of(*command)
    return output.splitlines()[0] if output else None


def _output_of(*command: str) -> str | None:
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip()
