"""Compiled kernels, and the files that keep them, in the folder where Numba keeps compiled code.

Numba's own files depend on one file of source code alone, and a damaged one raises an error in every process to come. Here a file
is named after all that its content depends on, and holds its checksum. It is written under another name first, so processes can
compile at once. A file that cannot be read or written costs a compilation.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import njit
from numba.core import config
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

from capsbench_kernels.passes.cpu.compiling import COMPILATIONS
from capsbench_kernels.passes.cpu.inlining import KernelCompiler

config.reload_config()  # where numba was imported before this package: see the comment in `__init__.py`

SOURCES = Path(__file__).parent

OPTIONS: dict[str, Any] = {
    **{"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False},
    "pipeline_class": KernelCompiler,
}
"""Kernels allocate nothing, and only Python calls them."""


def compile_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function when it is first called, and keeps the result on disk, unless there is no place for it.

    A read-only home is such a case: the function is then compiled anew in each process.
    """
    kernel: Any = njit(**OPTIONS)(function)
    if kernel is function:  # NUMBA_DISABLE_JIT=1
        return function
    with suppress(RuntimeError):  # Numba finds no folder
        kernel._cache = KernelCache(function)
    COMPILATIONS.kernels.append(kernel)
    return kernel


class KernelCache(FunctionCache):
    """Numba's cache of one kernel, with `KernelFiles`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = repr(self._impl.locator.get_source_stamp())
        self._cache_file: Any = KernelFiles(Path(self.cache_path), function.__name__, stamp)

    def load_overload(self, types: Any, target_context: Any) -> Any:
        """Returns the compiled kernel for these types of arguments, or None."""
        try:
            return super().load_overload(types, target_context)
        except Exception:  # a pickle of anything raises anything
            return None

    def save_overload(self, types: Any, result: Any) -> None:
        """Keeps a compiled kernel, if that is possible."""
        with suppress(OSError):
            super().save_overload(types, result)


class KernelFiles:
    """The files of one kernel: a checksum of 32 bytes, then a pickle."""

    def __init__(self, folder: Path, name: str, stamp: str) -> None:
        sources = [path.read_bytes() for path in sorted(SOURCES.glob("*.py"))]
        self.folder, self.name = folder, name
        self.prefix = f"{name}.{_shorten_digest(b''.join(sources), stamp.encode())}"

    def find_file(self, key: Any) -> Path:
        """Returns the file for a key of Numba: types, processor and byte code."""
        versions = (numba.__version__, llvmlite.__version__, sys.implementation.cache_tag, sys.version_info[:3])
        return self.folder / f"{self.prefix}.{_shorten_digest(repr((versions, key)).encode())}.kernel"

    def load(self, key: Any) -> Any:
        """Returns what was saved with this key, or None."""
        with suppress(OSError):
            content = self.find_file(key).read_bytes()
            checksum, data = content[:32], content[32:]
            if hashlib.sha256(data).digest() == checksum:
                return pickle.loads(data)
        return None

    def save(self, key: Any, result: Any) -> None:
        """Writes a file, and removes those of other source code."""
        data, target = dumps(result), self.find_file(key)
        draft = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
        try:
            draft.write_bytes(hashlib.sha256(data).digest() + data)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
        for other in self.folder.glob(f"{self.name}.*"):
            if not other.name.startswith(f"{self.prefix}."):
                other.unlink(missing_ok=True)

    def flush(self) -> None:
        """Numba's request to forget everything."""
        for path in self.folder.glob(f"{self.prefix}.*"):
            path.unlink(missing_ok=True)


def _shorten_digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
