"""Maps names to routings, networks, baselines, data sets, losses, measures and trackers, including a user's own.

A name is looked up among the built-in ones (`BUILT_IN`), then among the entry points of installed distributions (group
``capsbench.routing``, ``capsbench.network``, ...). A name of the form ``package.module:Attribute`` is imported only if the user
named it (`trust`), since records hold such names too and may come from anyone. ``folder:PATH`` is a data set and ``timm:NAME`` a
baseline by its scheme (`SCHEMES`). A class is returned only if it is a subclass of its kind's base class (`BASES`).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from capsbench.errors import FOREIGN, Kind, UsageError
from capsbench.sources import Source, describe_error, forget_modules, libraries, locations, read_source, read_version
from capsbench.sources.built_in import BUILT_IN as BUILT_IN

SCHEMES = {"dataset": locations.SCHEMES, "baseline": libraries.SCHEMES}
"""Kind -> the prefixes of names that capsbench resolves, with the path of a class or a function of what follows."""

BASES = {
    "routing": "capsbench.routing.base:Routing",
    "network": "torch.nn:Module",
    "baseline": "torch.nn:Module",
    "dataset": "capsbench.data.base:Dataset",
    "loss": "capsbench.training.losses:Loss",
    "measure": "capsbench.measures.base:Measure",
    "tracker": "capsbench.running.trackers.base:Tracker",
}
"""Kind -> the base class of its components."""

YOUR_OWN = "package.module:Attribute for your own"
"""The hint that follows the known names: a user may name a component of their own."""

RESERVED = ("all", "none")
"""Names that mean every component of a kind, and no component."""

_trusted: set[str] = set()
"""The import paths of a user's own components that this process may import."""


def trust(paths: Iterable[str]) -> None:
    """Allows this process to import components that the user named as ``package.module:Attribute``.

    Call it with names that a person typed, and with names from records only if that person allowed it.
    """
    for path in paths:
        if locations.is_spec(path):
            locations.restore([path])
        elif ":" in path:
            _trusted.add(path)


def trusted_paths() -> frozenset[str]:
    """Returns the trusted paths and the locations of data sets, to pass them to another process."""
    return frozenset(_trusted) | locations.list_specs()


def is_trusted(name: str) -> bool:
    """Returns true for an import path that the user named, and for every built-in or installed name."""
    return ":" not in name or name in _trusted or locations.is_located(name) or libraries.is_network(name)


def _entry_points(kind: str) -> dict[str, EntryPoint]:
    return _read_entry_points(kind)[0]


def _sharing_names(kind: str) -> tuple[str, ...]:
    """Returns the kinds that share their names, since one flag selects from all of them."""
    return ("network", "baseline") if kind in ("network", "baseline") else (kind,)


def about_name(kind: str, name: str) -> list[str]:
    """Returns a line for each ignored entry point of this name."""
    return [ignored[name] for other in _sharing_names(kind) if name in (ignored := ignored_entry_points(other))]


def ignored_entry_points(kind: str) -> dict[str, str]:
    """Returns name -> a line for each entry point that is ignored because its name has another meaning."""
    return _read_entry_points(kind)[1]


@cache
def _read_entry_points(kind: str) -> tuple[dict[str, EntryPoint], dict[str, str]]:
    """Reads the entry points of a kind.

    Returns:
        Those in use, by name; and the lines of `ignored_entry_points`.
    """
    counted: dict[str, EntryPoint] = {}
    ignored: dict[str, str] = {}
    for point in entry_points(group=f"capsbench.{kind}"):
        meaning = _meaning_of(kind, point.name) or (f"is {counted[point.name].value}" if point.name in counted else "")
        if meaning:
            ignored[point.name] = f"the entry point {point.value} is ignored: {kind} {point.name} {meaning}; rename it"
        else:
            counted[point.name] = point
    return counted, ignored


def _meaning_of(kind: str, name: str) -> str:
    """Returns the meaning of a reserved or built-in name, as the end of a sentence; empty if an entry point may use it."""
    if name in RESERVED:
        return "has a meaning of its own"
    if any(name in BUILT_IN[other] for other in _sharing_names(kind)):
        return "is built in"
    return "is a baseline" if kind == "network" and name in _entry_points("baseline") else ""


def names(kind: str) -> list[str]:
    """Returns the known names of a kind, the built-in ones first."""
    return [*BUILT_IN[kind], *_entry_points(kind)]


def name_schemes(kind: str) -> list[str]:
    """Returns the names with a scheme that a kind has: ``folder:PATH``, ``timm:NAME``."""
    is_path = {scheme: kind == "dataset" and scheme not in locations.NAMED for scheme in SCHEMES.get(kind, ())}
    return [f"{scheme}:{'PATH' if is_path[scheme] else 'NAME'}" for scheme in is_path]


def describe_own(kind: str) -> str:
    """Returns what a user's own component of a kind has to be, as a phrase."""
    is_network = kind in ("network", "baseline")
    return f"a subclass of {BASES[kind].replace(':', '.')}{' or a function (image, classes)' if is_network else ''}"


def find_shipped(kind: str, name: str) -> str | None:
    """Returns the path of the class of a name that ships with capsbench, names with a scheme included; else None."""
    scheme, colon, _ = name.partition(":")
    return SCHEMES.get(kind, {}).get(scheme) if colon else BUILT_IN[kind].get(name)


def kind_of(network: str) -> str:
    """Returns the kind of a network's name: ``baseline`` for the name of a baseline, else ``network``."""
    return "baseline" if network in names("baseline") or libraries.is_network(network) else "network"


def get(kind: str, name: str, flag: str | None = None) -> Any:
    """Returns the class of a name, a subclass of its kind's base class in `BASES`; a factory for a function that makes networks.

    Args:
        flag: the flag that named it, if it is not the kind.

    Raises:
        UsageError: the name is unknown; or a user's own class is not trusted, cannot be imported, or has another base class.
    """
    flag = flag or kind
    if (shipped := find_shipped(kind, name)) is not None:
        component = _import_path(flag, shipped)
        return component(libraries.name_of(name)) if kind == "baseline" and libraries.is_network(name) else component
    if ":" in name:
        component = _import_own(flag, name)
    elif name in _entry_points(kind):
        component = _load_entry_point(flag, _entry_points(kind)[name])
    else:
        raise UsageError(Kind.UNKNOWN, flag=flag, value=name, expected=[*names(kind), *name_schemes(kind), YOUR_OWN])
    is_network = kind in ("network", "baseline")
    if is_network and libraries.makes_networks(component):
        return _import_path(flag, "capsbench.networks.factory:Factory")(component)
    # `isinstance` reads `__class__`, which a foreign object may implement as a property that runs its code.
    if not (issubclass(type(component), type) and issubclass(component, _import_path(flag, BASES[kind]))):
        raise UsageError(Kind.INVALID, flag=flag, expected=describe_own(kind), value=name)
    if is_network and not hasattr(component, "sizes") and libraries.has_arguments(component):
        return _import_path(flag, "capsbench.networks.factory:Factory")(component)
    return component


def load_beside(kind: str, name: str, part: str) -> Any:
    """Returns an object of another file in a built-in component's folder, such as ``spec:SPEC``; None without that file."""
    folder = BUILT_IN[kind][name].partition(":")[0].rpartition(".")[0]
    module, _, attribute = part.partition(":")
    path = f"{folder}.{module}"
    return getattr(importlib.import_module(path), attribute) if importlib.util.find_spec(path) else None


def _load_entry_point(flag: str, point: EntryPoint) -> Any:
    try:
        with redirect_stdout(sys.stderr):
            return _load_current(point.module, point.attr, point.load)
    except FOREIGN as error:
        problem = f"the entry point cannot be imported: {describe_error(error)}"
        raise UsageError(Kind.MISSING, problem, flag=flag, value=point.name) from error


def declared_version(kind: str, name: str) -> int | None:
    """Returns the ``version`` that a built-in component declares in its class; None for a user's own.

    It is parsed from the source file, since importing most components would import torch, which takes seconds.
    """
    return read_version(path) if (path := find_shipped(kind, name)) else None


def training_version() -> int:
    """Returns the version of the training loop, parsed from its source file."""
    return read_version("capsbench.training.loop:VERSION")


def split_spec(spec: str) -> tuple[str, str]:
    """Splits the spec of a measure into its name and setting: ``adversarial:full``, ``my.module:Mine``, ``my.module:Mine:full``.

    The setting is empty if the spec has none.
    """
    name, _, setting = spec.partition(":")
    if setting and name not in names("measure"):
        attribute, _, setting = setting.partition(":")
        name = f"{name}:{attribute}"
    return name, setting


def measure_name(spec: str) -> str:
    """Returns the name in a measure's spec, without the setting."""
    return split_spec(spec)[0]


def measure_setting(spec: str) -> str:
    """Returns the setting in a measure's spec, ``default`` if it has none."""
    return split_spec(spec)[1] or "default"


def _import_path(flag: str, path: str) -> Any:
    module_name, _, attribute = path.partition(":")
    try:
        with redirect_stdout(sys.stderr):  # what a user's module prints is no part of what programs read
            module = importlib.import_module(module_name)
            if not hasattr(module, attribute):
                raise UsageError(Kind.UNKNOWN, flag=flag, value=path, expected=_list_defined(module))
            return getattr(module, attribute)
    except UsageError:
        raise
    except FOREIGN as error:  # a user's module may raise anything while it is imported
        problem = f"cannot be imported: {describe_error(error)}"
        absent = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}.")
        remedy = "run in the folder of its module, or add that folder to PYTHONPATH" if absent else None
        raise UsageError(Kind.MISSING, problem, flag=flag, value=path, expected=remedy) from error


def _list_defined(module: ModuleType) -> list[str]:
    """Returns the paths of the public classes and functions that a module defines."""
    return [
        f"{module.__name__}:{name}"
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__ and callable(value)
    ]


def _import_own(flag: str, path: str) -> Any:
    """Imports a user's own component; a module that was edited since its import is loaded again.

    Raises:
        UsageError: no user named the component or allowed its import.
    """
    if path not in _trusted:
        problem = "code that a record names is not imported"
        remedy = "{flag:allow_code} allows it, if you trust the author of the records"
        raise UsageError(Kind.UNTRUSTED, problem, flag=flag, value=path, expected=remedy)
    module_name, _, attribute = path.partition(":")
    if module_name == "__main__":
        problem = "it is defined in a notebook or script, which other processes cannot import"
        remedy = f"put it in a file (in a notebook: %%writefile my_module.py) and name it my_module:{attribute}"
        raise UsageError(Kind.INACCESSIBLE, problem, flag=flag, value=path, expected=remedy)
    stem, suffix, _ = module_name.replace("\\", "/").rpartition("/")[2].partition(".py")
    if suffix or "/" in module_name or "\\" in module_name:
        problem = "a module is named as in an import, not by its file"
        remedy = f"run in its folder, or add that folder to PYTHONPATH, and name it {stem}:{attribute}"
        raise UsageError(Kind.MISSING, problem, flag=flag, value=path, expected=remedy)
    look_in([])
    return _load_current(module_name, attribute, lambda: _import_path(flag, path))


def look_in(folders: Iterable[Path]) -> None:
    """Adds the working directory and some folders to the end of ``sys.path``, for modules that Python does not find elsewhere."""
    for folder in map(str, (Path.cwd(), *folders)):
        if folder not in sys.path:
            sys.path.append(folder)


def folder_of(kind: str, name: str) -> Path | None:
    """Returns the folder in which Python found the module of ``package.module:Attribute``; None for other names."""
    if ":" not in name or find_shipped(kind, name) is not None:
        return None
    get(kind, name)
    top = sys.modules[name.partition(":")[0].partition(".")[0]]
    paths = [*getattr(top, "__path__", []), *filter(None, [getattr(top, "__file__", None)])]
    return Path(paths[0]).parent


def _load_current(module: str, attribute: str, load: Callable[[], Any]) -> Any:
    """Loads a component from the current state of its files: if one of them was edited, all its modules are imported again."""
    component = load()
    source = read_source(module, attribute)
    if source is None:
        return component
    imported = _imported.setdefault(module, {})
    if any(imported.get(path, stamp) != stamp for path, stamp in source.stamps.items()):
        forget_modules(source.files)
        component = load()
        source = read_source(module, attribute) or source
        imported.clear()
    imported |= source.stamps
    return component


_imported: dict[str, dict[Path, tuple[int, ...] | None]] = {}
"""Module of a user's own component -> the files that it was imported from, with their state at that time."""


def source_parts(kind: str, name: str) -> dict[str, str]:
    """Returns module -> digest for the source of a user's own component, library -> version for a library's; else empty.

    The digests become part of a cell's identity, so that an edited routing is not mistaken for the one on record.
    """
    if kind == "baseline" and libraries.is_network(name):
        return libraries.read_version(name)
    source = _source_of(kind, name)
    return {} if source is None else source.parts


def source_digest(kind: str, name: str) -> str | None:
    """Returns one digest of `source_parts`, or the library with its version; None for a built-in component."""
    if kind == "baseline" and libraries.is_network(name):
        return libraries.describe_version(name)
    source = _source_of(kind, name)
    return None if source is None else source.digest


def _source_of(kind: str, name: str) -> Source | None:
    if find_shipped(kind, name) is not None:
        return None
    get(kind, name)  # imports the current state of its files
    if ":" in name:
        module, _, attribute = name.partition(":")
    else:
        module, attribute = _entry_points(kind)[name].module, _entry_points(kind)[name].attr
    return read_source(module, attribute.partition(".")[0])
