"""The process that reads a MATLAB 5 file for `matlab`: ``PATH TO NAME...``; run as a script, and needs nothing of capsbench.

It writes the arrays that are there to a new file ``TO.npz``. What cannot be read is a line on stderr and exit code 1.
"""

import sys
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

LARGEST = 2**30
"""Bytes of a file in an archive, of which the largest published one has 550 MB."""

MEMORY = 4 * LARGEST
"""Bytes of address space, for an archive may hold anything: the file, its arrays, and these in order."""

UNWRITTEN = 74
"""The exit code where the file can be read and its arrays cannot be written (EX_IOERR of sysexits.h)."""


def main(path: str, to: str, *names: str) -> None:
    _limit()
    try:
        arrays = read_arrays(Path(path), names)
    except Exception as error:  # a damaged file may raise anything
        sys.exit(" ".join(str(error).split()) or type(error).__name__)
    try:
        np.savez(to, **{name: array for name, array in arrays.items() if array is not None})
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)
        sys.exit(UNWRITTEN)


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """NumPy arrays by their names, which are those of `capsbench.data.formats.matlab.read_matlab`."""
    from scipy.io import loadmat

    variables = [name.partition(".")[0] for name in names]
    content = loadmat(_opened(path), variable_names=variables)
    return {name: _array(content, name) for name in names}


def _opened(path: Path) -> BinaryIO | Path:
    if path.suffix != ".zip":
        return path
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".mat")]
        if len(members) != 1:
            raise ValueError(f"expected one file that ends with .mat in it, found {len(members)}")
        if members[0].file_size > LARGEST:
            raise ValueError(f"expected up to {LARGEST} bytes in it, found {members[0].file_size}")
        return BytesIO(archive.read(members[0]))  # it ends where the archive says that it does


def _array(content: dict[str, Any], name: str) -> Any:
    """The array of a name; None where there is none."""
    variable, _, field = name.partition(".")
    array = content.get(variable)
    if array is None or not field:
        found = array
    elif array.dtype.names is None or field not in array.dtype.names or not array.size:
        found = None
    else:
        found = array.flat[0][field]
    if found is not None and not (isinstance(found, np.ndarray) and found.dtype.kind in "buif"):
        raise ValueError(f"expected {name} to be an array of numbers")
    return found


def _limit() -> None:
    """Has the system end this process where it takes more than it should."""
    import resource

    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # a lower one may hold already, or the system knows none
            resource.setrlimit(limit, (most, most))


if __name__ == "__main__":
    main(*sys.argv[1:])
