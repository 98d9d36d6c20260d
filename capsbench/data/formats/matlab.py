"""Arrays of MATLAB 5 files, which SciPy reads in a process of its own: a damaged file can kill the process that reads it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from capsbench.data.formats import matlab_process
from capsbench.data.formats.published import unreadable_file
from capsbench.errors import ProcessFailed, cause_of_death

Arrays = Mapping[str, np.ndarray[Any, Any] | None]


def read_matlab(path: Path, names: Sequence[str]) -> Arrays:
    """Arrays of numbers by their names; None for one that the file does not hold.

    Args:
        path: a MATLAB 5 file, or a zip archive that holds one.
        names: ``X``, or of a field of a structure ``affNISTdata.image``.

    Raises:
        UsageError: the file cannot be read, or an array is not of numbers.
    """
    # The working directory stays off its path (-P): it may hold files of anyone. One thread, which needs less memory.
    command = [sys.executable, "-P", "-W", "ignore", matlab_process.__file__, str(path), *names]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            arrays = _receive(process.stdout)
        except BaseException:
            process.kill()
            raise
        complaints = process.stderr.read().decode(errors="replace").splitlines()
    if arrays is None:
        died = process.returncode < 0 or not complaints
        reason = f"who reads it dies: {cause_of_death(process.returncode)}" if died else complaints[-1]
        raise unreadable_file(path, ProcessFailed(reason))
    return arrays


def _receive(sent: IO[bytes]) -> Arrays | None:
    """What `matlab_process` sends; None where it ends before it has sent all."""
    header = sent.readline()
    if not header.endswith(b"\n"):
        return None
    arrays: dict[str, np.ndarray[Any, Any] | None] = {}
    for name, found in json.loads(header).items():
        arrays[name] = None
        if found is not None:
            dtype, shape = np.dtype(found["dtype"]), found["shape"]
            content = bytearray(dtype.itemsize * math.prod(shape))
            if sent.readinto(content) != len(content):  # type: ignore[attr-defined]
                return None
            arrays[name] = np.frombuffer(content, dtype).reshape(shape[::-1]).T
    return arrays
