"""A user's own images: a folder, arrays in a file, a table of files, or what a library has. One file each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from capsbench.sources import locations

FETCHED = ("hf", "torchvision")
"""The schemes of data sets that libraries name, and fetch."""


def adopt_request(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Returns a request whose data sets all are names, and lie on this machine.

    Args:
        folder: the data folder; images in memory are written into it, and what a library names is fetched into it.

    Raises:
        UsageError: the value is no data set, or cannot be fetched.
    """
    asked = request.get("dataset")
    names = asked.split(",") if isinstance(asked, str) else asked if isinstance(asked, list | tuple) else [asked]
    is_plain = all(isinstance(name, str) and locations.split_scheme(name.strip())[0] not in FETCHED for name in names)
    if asked is None or is_plain:
        return request
    from capsbench.data.own.objects import adopt_datasets  # imports Pillow, which few plans need

    return {**request, "dataset": adopt_datasets(asked, folder)}
