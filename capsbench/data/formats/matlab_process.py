"""Script that reads a MATLAB 5 file for `matlab`, with arguments ``PATH TO NAME...``; imports nothing of capsbench.

It writes the arrays that exist to a new file ``TO.npz``. If the file cannot be read, it prints a line on stderr and exits with
code 1.
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
"""Limit of the bytes of a file in an archive. The largest published one has 550 MB."""

MEMORY = 4 * LARGEST
"""Limit of the address space in bytes: the file, its arrays, and contiguous copies of these."""

UNWRITTEN = 74
"""The exit code if the file can be read but its arrays cannot be written (EX_IOERR of sysexits.h)."""


def main(path: str, to: str, *names: str) -> None:
    _limit_memory()
    try:
        arrays = read_arrays(Path(path), names)
    except Exception as error:  # a damaged file can raise anything
        sys.exit(" ".join(str(error).split()) or type(error).__name__)
    try:
        np.savez(to, **{name: array for name, array in arrays.items() if array is not None})
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)
        sys.exit(UNWRITTEN)


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Reads NumPy arrays by names as in `capsbench.data.formats.matlab.read_matlab`."""
    from scipy.io import loadmat

    variables = [name.partition(".")[0] for name in names]
    content = loadmat(_open_file(path), variable_names=variables)
    return {name: _select_array(content, name) for name in names}


def _open_file(path: Path) -> BinaryIO | Path:
    if path.suffix != ".zip":
        return path
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".mat")]
        if len(members) != 1:
            raise ValueError(f"expected one file that ends with .mat in it, found {len(members)}")
        if members[0].file_size > LARGEST:
            raise ValueError(f"expected up to {LARGEST} bytes in it, found {members[0].file_size}")
        return BytesIO(archive.read(members[0]))  # never more than the declared size


def _select_array(content: dict[str, Any], name: str) -> Any:
    """Returns the array of a name; None if there is none."""
    variable, _, field = name.partition(".")
    array = content.get(variable)
    if array is not None and field:
        has_field = array.dtype.names is not None and field in array.dtype.names and array.size
        array = array.flat[0][field] if has_field else None
    if array is not None and not (isinstance(array, np.ndarray) and array.dtype.kind in "buif"):
        raise ValueError(f"expected {name} to be an array of numbers")
    return array


def _limit_memory() -> None:
    """Limits the memory of this process, and disables core dumps."""
    import resource

    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # a lower limit holds already, or the system has none
            resource.setrlimit(limit, (most, most))


if __name__ == "__main__":
    main(*sys.argv[1:])
