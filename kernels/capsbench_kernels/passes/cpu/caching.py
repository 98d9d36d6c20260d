"""Numba's cache on disk, with the code that Numba does not know a kernel depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

from capsbench_kernels.passes.cpu import lanes, steps, tiles


def compile_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function when it is first called, and keeps the result on disk, unless there is no place for it.

    A read-only home is such a case: the function is then compiled anew in each process.
    """
    try:
        kernel = njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:
        return njit(nogil=True, error_model="numpy")(function)
    if kernel is function:  # NUMBA_DISABLE_JIT=1
        return function
    _forget_if_changed(function.__name__, Path(str(kernel.stats.cache_path)))
    return kernel


def _forget_if_changed(name: str, folder: Path) -> None:
    """Removes a kernel's compiled files if the code that is inlined into it has changed: Numba looks at its own file alone."""
    files = (__file__, lanes.__file__, steps.__file__, tiles.__file__)
    sources = b"".join(Path(str(file)).read_bytes() for file in files)
    stamp = folder / f"{name}.{hashlib.sha256(sources).hexdigest()[:16]}.sources"
    if not stamp.exists():
        for outdated in [*folder.glob(f"*{name}*.nb?"), *folder.glob(f"{name}.*.sources")]:
            outdated.unlink(missing_ok=True)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
