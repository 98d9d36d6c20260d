"""Arrays of NumPy's ``.npz`` files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from capsbench.data.formats.published import damaged_file, unreadable_file


def read_npz(path: Path, expected: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, np.ndarray[Any, Any]]:
    """Reads arrays by their names.

    Args:
        path: the file. It is never unpickled.
        expected: name of an array -> its type, such as ``uint8``, and its shape.

    Raises:
        UsageError: the file cannot be read, or an array is missing or is another one.
    """
    try:
        # NumPy leaves a damaged file open that it opens itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in expected if name in content}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise unreadable_file(path, error) from error
    for name, (kind, shape) in expected.items():
        found = f"{arrays[name].dtype} {list(arrays[name].shape)}" if name in arrays else "nothing"
        if found != f"{kind} {list(shape)}":
            raise damaged_file(path, f"expected {name} of {kind} {list(shape)}, found {found}", found)
    return arrays
