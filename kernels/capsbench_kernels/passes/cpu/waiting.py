"""Rest for torch's idle threads, which would take time from the threads of the vote pass.

After a parallel loop, the threads of OpenMP do not sleep but spin for milliseconds (libgomp counts to 300,000, libiomp waits
200 ms), in case another loop follows at once. With as many threads as cores, each of them holds a core that a vote pass, or
another process, could use. The settings that shorten this (GOMP_SPINCOUNT, OMP_WAIT_POLICY, KMP_BLOCKTIME) are read from the
environment when torch is first imported, too late for a library. Two calls have the same effect later:

- libgomp counts to 1,000 only once it has more threads than the process has cores. `limit_spinning` parks two threads for ever, a
  team of its own, which makes one more than the cores. Torch's own loops gain from that as well: training steps of matrix
  capsules took a third of the time beside other processes.
- A soft pause of OpenMP 5.0 ends the team of the calling thread, or puts it to sleep, until the next parallel loop of that
  thread (`release_idle_threads`). It takes 0.3 us without a team, and with a team of two threads 50 us, which includes the start
  of the next team.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable
from pathlib import Path

import torch

SOFT = 1
"""The kind of pause that keeps the settings of OpenMP, such as the number of threads (omp_pause_soft)."""

FORKED = 0x40
"""The flag of a Linux process that was forked and has not loaded another program since (PF_FORKNOEXEC)."""


PARKED = 2
"""Threads of the parked team."""

CHOICES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""The environment variables by which a user decides how long libgomp's threads spin; that is then left alone."""


@functools.cache
def limit_spinning() -> bool:
    """Makes libgomp's threads sleep after microseconds, in the whole process; once.

    Returns:
        Whether that was possible: not with another OpenMP, such as LLVM's, and not where the user has decided (`CHOICES`).
    """
    if any(name in os.environ for name in CHOICES):
        return False
    library = _load_openmp()
    if library is None or not hasattr(library, "GOMP_parallel") or hasattr(library, "__kmpc_fork_call"):
        return False
    parked, never = threading.Event(), threading.Event()

    def park_team() -> None:
        # The two threads call a function of OpenMP that does nothing. The second is then idle, until the first one ends.
        try:
            nothing = ctypes.cast(library.omp_in_parallel, ctypes.c_void_p)
            library.GOMP_parallel(nothing, None, ctypes.c_uint(PARKED), ctypes.c_uint(0))
        finally:
            parked.set()
        never.wait()

    threading.Thread(target=park_team, name="parked-openmp-team", daemon=True).start()
    parked.wait()
    return True


def release_idle_threads() -> bool:
    """Ends the spinning of the OpenMP threads that wait for the calling thread.

    Returns:
        Whether that was possible: not in a build of torch without OpenMP 5.0, and not after the fork of `_is_foreign_fork`.
    """
    pause = _find_pause()
    return pause is not None and pause() == 0


@functools.cache
def _find_pause() -> Callable[[], int] | None:
    """Returns the pause of the OpenMP that torch uses, or None."""
    if _is_foreign_fork():
        return None
    library = _load_openmp()
    if library is None or not hasattr(library, "omp_pause_resource"):
        return None
    return functools.partial(library.omp_pause_resource, SOFT, library.omp_get_initial_device())


def _load_openmp() -> ctypes.CDLL | None:
    """Returns torch's own module, through which the functions of its OpenMP are found.

    A look-up in it goes on in the libraries that it was linked with, up to the OpenMP of this torch. A second OpenMP in the
    process, such as that of Numba or scikit-learn, has threads of its own.
    """
    try:
        return ctypes.CDLL(torch._C.__file__)
    except OSError:
        return None


def _is_foreign_fork() -> bool:
    """Tells whether this process was forked before this module was imported.

    libgomp then may still know a team whose threads were not copied, and a pause would wait for them for ever.
    """
    try:
        flags = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[6])
    except (OSError, ValueError, IndexError):  # no Linux: libomp forgets its team at a fork
        return False
    return bool(flags & FORKED)


if hasattr(os, "register_at_fork"):
    # Without a team in the forking thread, the child has none that it would wait for.
    os.register_at_fork(before=release_idle_threads)
