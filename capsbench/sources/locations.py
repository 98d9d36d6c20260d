"""Where a user's own images lie: the name of a data set -> its folder or file on this machine.

A data set that is typed as ``folder:data/shapes`` has the name ``folder:shapes``. The name is on record, and the path
is not part of it: the same images elsewhere are the same data set.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

SCHEMES = {
    "folder": "capsbench.data.own.folder:FolderSet",
    "npz": "capsbench.data.own.npz:NpzSet",
    "csv": "capsbench.data.own.csv_file:CsvSet",
    "hf": "capsbench.data.own.hugging_face:HuggingFaceSet",
    "torchvision": "capsbench.data.own.npz:TorchvisionSet",
}
"""The prefix of data sets that are named by a path -> their class, as in `capsbench.registry.BUILT_IN`."""

NAMED = ("torchvision",)
"""The schemes that are never followed by a path."""


HUGGING_FACE_FILES = ("dataset_dict.json", "dataset_info.json")
"""A file of one of these names is in the folder of a data set that Hugging Face saved."""


class Location(NamedTuple):
    """The absolute path of a data set, and how the user typed it: ``folder:data/shapes``."""

    path: str
    typed: str


_locations: dict[str, Location] = {}
"""Name of a data set, such as ``folder:shapes`` -> its location."""


def split_scheme(name: str) -> tuple[str, str]:
    """Splits ``folder:data/shapes`` into the scheme and the rest; the scheme is empty for any other name."""
    scheme, colon, rest = name.partition(":")
    return (scheme, rest) if colon and scheme in SCHEMES else ("", name)


def find_scheme(path: Path) -> str:
    """Returns the scheme of the images in a folder or file, by its kind."""
    path = path.expanduser()
    if path.is_dir():
        return "hf" if any((path / name).is_file() for name in HUGGING_FACE_FILES) else "folder"
    return {".csv": "csv", ".npz": "npz"}.get(path.suffix.lower(), "folder")


def find_location(typed: str) -> tuple[str, Location | None]:
    """Returns the name of a data set as typed, and its location; None if it is no path that exists."""
    scheme, rest = split_scheme(typed)
    if not scheme or not rest:
        return typed, None
    # What a library names has a location once it was fetched.
    fetched = [(name, location) for name, location in _locations.items() if location.typed == typed]
    if scheme in NAMED:
        return fetched[0] if fetched else (typed, None)
    # Path.resolve would follow links, and the name of a link is what the user typed; Path.exists may raise.
    path = os.path.abspath(Path(rest).expanduser())  # noqa: PTH100
    if not os.path.exists(path):  # noqa: PTH110
        return fetched[0] if fetched else (typed, None)
    return f"{scheme}:{Path(path).name or 'root'}", Location(path, typed)


def locate(typed: str) -> str:
    """Returns the name of a data set as typed, and remembers where it lies."""
    name, location = find_location(typed)
    if location is not None:
        place(name, location)
    return name


def place(name: str, location: Location) -> None:
    """Remembers where a data set lies; a later location replaces an earlier one."""
    _locations[name] = location


def path_of(name: str) -> str:
    """Returns the path of a data set, or what follows the scheme if no location is known."""
    return _locations[name].path if name in _locations else split_scheme(name)[1]


def is_located(name: str) -> bool:
    """Returns true if the location of a data set is known."""
    return name in _locations


def spell_typed(name: str) -> str:
    """Returns a data set as the user typed it."""
    return _locations[name].typed if name in _locations else name


def list_specs() -> frozenset[str]:
    """Returns the known data sets with their absolute paths, ``folder:/data/shapes``, to pass them to another process."""
    return frozenset(f"{split_scheme(name)[0]}:{location.path}" for name, location in _locations.items())


def is_spec(text: str) -> bool:
    """Returns true for a data set with an absolute path, as in `list_specs`."""
    scheme, rest = split_scheme(text)
    return bool(scheme) and Path(rest).is_absolute()


def restore(specs: Iterable[str], *, replace: bool = True) -> None:
    """Remembers data sets of `list_specs`; without ``replace`` only those whose location is unknown."""
    for spec in specs:
        scheme, path = split_scheme(spec)
        name = f"{scheme}:{Path(path).name or 'root'}"
        if replace or name not in _locations:
            place(name, Location(path, spec))


def spec_of(name: str) -> str | None:
    """Returns a data set with its absolute path, as in `list_specs`; None if its location is unknown."""
    return f"{split_scheme(name)[0]}:{_locations[name].path}" if name in _locations else None
