"""The circumstances of a compilation: a line on a terminal while it lasts, and no garbage collection."""

from __future__ import annotations

import gc
import multiprocessing
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from numba.core import event, types


class Compilations(event.Listener):
    """Hears of every compilation of Numba, and attends to those of our kernels.

    A garbage collection looks at every object of torch, several times during a compilation, which leaves no garbage of note: a
    sixth of the time.
    """

    def __init__(self) -> None:
        self.kernels: list[Any] = []
        self.silent = False
        self.line = ""
        self.collects = False

    def on_start(self, event: Any) -> None:
        """Begins a compilation. Numba has one at a time."""
        kernel = event.data["dispatcher"]
        if kernel in self.kernels:
            self.line = "" if self.silent else show_line(describe_compilation(kernel, event.data["args"]))
            self.collects = gc.isenabled()
            gc.disable()

    def on_end(self, event: Any) -> None:
        """Ends a compilation, also one that failed."""
        if event.data["dispatcher"] in self.kernels:
            if self.collects:
                gc.enable()
            clear_line(self.line)

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Shows no line meanwhile."""
        self.silent, before = True, self.silent
        try:
            yield
        finally:
            self.silent = before


def describe_compilation(kernel: Any, arguments: Any) -> str:
    """Returns the line about a kernel that is compiled for these types of arguments."""
    dtypes = [kind.dtype for kind in arguments if isinstance(kind, types.Array)]
    number = next((f" for {dtype}" for dtype in dtypes if isinstance(dtype, types.Float)), "")
    kept = kernel.stats.cache_path is not None
    often = "once on this machine" if kept else "in each process: NUMBA_CACHE_DIR names no folder that can be written"
    return f"capsbench_kernels: compiling a CPU kernel{number}, {often} ..."


def show_line(line: str) -> str:
    """Shows a line on stderr, if that is a terminal and this is no process of a pool.

    Returns:
        What `clear_line` is to remove. Where a program has put a stream of its own in the place of stderr, such as that of a
        progress bar, the line ends and stays: that stream may not pass on what would remove it.
    """
    stream = sys.stderr
    with suppress(AttributeError, OSError, ValueError):  # no stderr, or a closed one
        if stream.isatty() and multiprocessing.parent_process() is None:
            if stream is not sys.__stderr__:
                print(line, file=stream)
                return ""
            shown = line[: shutil.get_terminal_size().columns - 1]  # a second line could not be removed
            print(shown, end="", file=stream, flush=True)
            return shown
    return ""


def clear_line(line: str) -> None:
    """Overwrites the last line on stderr with blanks."""
    if line:
        with suppress(AttributeError, OSError, ValueError):
            print(f"\r{' ' * len(line)}\r", end="", file=sys.__stderr__, flush=True)


COMPILATIONS = Compilations()
event.register("numba:compile", COMPILATIONS)
