"""A user's own images: a folder, arrays in a file, a table of files, or what a library has. One file each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from capsbench.errors import UsageError
from capsbench.sources import locations

FETCHED = ("hf", "torchvision")
"""The schemes of data sets that libraries name, and fetch."""


def adopt_request(
    request: dict[str, Any], folder: Path, note: Callable[[Path], None] = lambda path: None
) -> dict[str, Any]:
    """Returns a request whose data sets all are names, and lie on this machine.

    Args:
        folder: the data folder; images in memory are written into it, and what a library names is fetched into it.
        note: called with each file or folder that is written for images in memory.

    Raises:
        UsageError: the value is no data set, or cannot be fetched.
    """
    asked = _name_paths(request.get("dataset"))
    names = asked.split(",") if isinstance(asked, str) else asked if isinstance(asked, list | tuple) else [asked]
    is_plain = all(isinstance(name, str) and locations.split_scheme(name.strip())[0] not in FETCHED for name in names)
    if asked is None:
        return request
    if is_plain:
        return request if asked is request["dataset"] else {**request, "dataset": asked}
    from capsbench.data.own.objects import adopt_datasets  # imports Pillow, which few plans need

    return {**request, "dataset": adopt_datasets(asked, folder, note)}


def _name_paths(value: Any) -> Any:
    """Returns a data set, or an axis of them, with the name of each path: ``folder:shapes`` of ``Path("shapes")``."""
    if isinstance(value, list | tuple) and any(isinstance(item, Path) for item in value):
        return [_name_paths(item) for item in value]
    return f"{locations.find_scheme(value)}:{value}" if isinstance(value, Path) else value


@contextmanager
def remove_refused() -> Iterator[Callable[[Path], None]]:
    """Yields the function that notes what is written for images in memory; if the block refuses them, it is removed."""
    written: list[Path] = []
    try:
        yield written.append
    except UsageError:
        for path in written:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        raise
