"""Arrays of MATLAB 5 files. SciPy reads them in a separate process, because a damaged file can kill its reader."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from capsbench.data.formats import matlab_process
from capsbench.data.formats.published import unreadable_file
from capsbench.errors import LONGEST_MESSAGE, Kind, ProcessFailed, UsageError, cause_of_death

SECONDS = 600
"""Time limit of the process that reads a file."""


def read_matlab(path: Path, names: Sequence[str]) -> Mapping[str, np.ndarray[Any, Any] | None]:
    """Reads arrays of numbers by their names; None for an array that the file does not hold.

    Args:
        path: a MATLAB 5 file, or a zip archive that holds one.
        names: such as ``X``, or ``affNISTdata.image`` for a field of a structure.

    Raises:
        UsageError: the file cannot be read, an array is not of numbers, or the disk has no room for a copy of them.
    """
    with TemporaryDirectory() as folder:
        passed_on = Path(folder) / "arrays.npz"
        # -P keeps the script's folder off the import path: its modules are not top-level ones. One thread needs less memory.
        script = [sys.executable, "-P", "-W", "ignore", matlab_process.__file__]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        try:
            ended = subprocess.run(
                [*script, str(path), str(passed_on), *names],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                env=environment, timeout=SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise unreadable_file(path, ProcessFailed(f"it takes more than {SECONDS} seconds")) from None
        complaints = ended.stderr.decode(errors="replace").splitlines()
        reason = complaints[-1][:LONGEST_MESSAGE] if complaints else ""
        if ended.returncode == matlab_process.UNWRITTEN:
            expected = "room there, or another folder by $TMPDIR"
            problem = f"cannot be written: {reason}"
            raise UsageError(Kind.INACCESSIBLE, problem, file=passed_on, expected=expected)
        if ended.returncode < 0 or (ended.returncode and not reason):
            reason = f"the process that reads it dies: {cause_of_death(ended.returncode)}"
        if ended.returncode:
            raise unreadable_file(path, ProcessFailed(reason))
        with np.load(passed_on) as arrays:
            return {name: arrays.get(name) for name in names}
