"""Numbers of files and bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PARTS = ("records", "weights", "kept", "between", "checkpoints", "runs", "leases", "report", "shown")
"""The folders inside a results folder."""

OTHER = "other"


@dataclass(frozen=True)
class Size:
    """A number of files, and their bytes together."""

    files: int = 0
    bytes: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.files + other.files, self.bytes + other.bytes)


def sum_sizes(sizes: Iterable[Size]) -> Size:
    """Returns the size of all."""
    return sum(sizes, Size())


def measure_parts(folder: Path) -> dict[str, Size]:
    """Returns the size of each of the `PARTS` of a results folder, and of all `OTHER` files in it."""
    sizes = {name: _measure_folder(folder / name) for name in PARTS}
    sizes[OTHER] = _measure_folder(folder, except_for=PARTS)
    return sizes


def _measure_folder(folder: Path, except_for: Iterable[str] = ()) -> Size:
    """Returns the size of a folder; a file that goes meanwhile counts nothing.

    Args:
        except_for: names in the folder that do not count.
    """
    size = Size()
    for path, folders, names in os.walk(folder):
        if Path(path) == folder:
            folders[:] = [name for name in folders if name not in except_for]
        for name in names:
            with suppress(FileNotFoundError):
                size += Size(1, os.lstat(f"{path}/{name}").st_size)
    return size
