"""The source of a user's own component: the statements that it reaches in its module and in the modules that this imports.

The digest of a component is computed from syntax trees without docstrings, so comments and line breaks do not change it. It
includes imported code, because a routing may depend on the file next to it. These statements of a module count:

- classes, functions and constants that the component reaches by their names, directly or through others;
- statements that run when the module is imported: all that are more than a definition (`capsbench.sources.syntax`).

If names do not show what code reaches (``globals()``, ``exec``, a star import), the whole module counts. Modules of the standard
library, of installed packages and of capsbench itself are not followed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import NamedTuple

from capsbench.sources.syntax import COMPUTED, Import, Module, parse_module

OURS = ("capsbench", "capsbench_kernels", "capsbench_baselines")
"""Packages whose components declare a version."""

QUIET = sys.stdlib_module_names | {"torch", "torchvision", "numpy", "scipy", "pandas", *OURS}
"""Packages that are never followed: importing them changes nothing, and their versions are on record."""


class Source(NamedTuple):
    """The source of a component.

    - ``parts``: module -> digest of its statements that count
    - ``files``: module -> file, of all modules imported with the component
    - ``stamps``: file -> its time of change, size and inode; None if it is gone
    - ``absent``: modules that are imported if they exist, and do not exist
    """

    parts: dict[str, str]
    files: dict[str, Path]
    stamps: dict[Path, tuple[int, ...] | None]
    absent: list[str]

    @property
    def is_current(self) -> bool:
        """True if no file has changed and no absent module has appeared since."""
        changed = self.stamps != {path: _read_stamp(path) for path in self.stamps}
        return not changed and not any(map(_find_top_spec, self.absent))

    @property
    def digest(self) -> str:
        """The digest of all parts, 12 hexadecimal digits."""
        return _digest_text("\n".join(f"{module} {digest}" for module, digest in sorted(self.parts.items())))


_sources: dict[tuple[str, str, str | None], Source] = {}
"""Cache: (module, attribute, file of the module) -> its source when it was last read."""


def read_source(module: str, attribute: str) -> Source | None:
    """Returns the source of the imported ``module:attribute`` from its current files; None if it has no file."""
    key = module, attribute, getattr(sys.modules.get(module), "__file__", None)
    known = _sources.get(key)
    if known is not None and known.is_current:
        return known
    closure = _Closure(module.partition(".")[0])
    start = closure.visit_module(module)
    if start is None:
        return None
    closure.reach_name(start, attribute)
    _sources[key] = closure.build_source()
    return _sources[key]


def forget_modules(names: Iterable[str]) -> None:
    """Removes modules and their submodules from `sys.modules`, so that the next import reads their files."""
    forgotten = set(names)
    for name, module in list(sys.modules.items()):
        if not any(name == outer or name.startswith(f"{outer}.") for outer in forgotten):
            continue
        path = getattr(module, "__file__", None)
        if path is None or path.endswith(".py"):  # an extension cannot be loaded twice
            del sys.modules[name]
        if path is not None and path.endswith(".py"):
            # Python compares a compiled file with its source by seconds and size only, and an edit may change neither.
            with suppress(OSError, NotImplementedError):
                Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)
    importlib.invalidate_caches()


def changed_parts(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Returns the modules whose digest was added, removed or changed."""
    return sorted(module for module in {*before, *now} if before.get(module) != now.get(module))


class _Closure:
    """Walks from a component to all statements that it reaches.

    Args:
        own: the component's package, which is followed even if it is installed.
    """

    def __init__(self, own: str) -> None:
        self.own = own
        self.modules: dict[str, Module | None] = {}
        self.files: dict[str, Path] = {}
        self.reached: dict[str, set[int]] = {}
        self.pending: list[tuple[Module, int]] = []
        self.specs: dict[str, ModuleSpec | None] = {}

    def build_source(self) -> Source:
        """Returns the source of all that is reached from the modules visited and the names reached so far."""
        self._process_pending()
        # If the definition of a class may change other classes, every class may matter.
        while self._has_hooks() and (partial := [module for module in self._followed if not self._is_whole(module)]):
            for module in partial:
                self.reach_all(module)
            self._process_pending()
        texts = {
            module.name: "\n".join(module.statements[place].text for place in sorted(self.reached[module.name]))
            for module in self._followed
        }
        parts = {name: _digest_text(text) for name, text in texts.items() if text}
        absent = [name for name, spec in self.specs.items() if spec is None and "." not in name]
        return Source(parts, self.files, {path: _read_stamp(path) for path in self.files.values()}, absent)

    def visit_module(self, name: str) -> Module | None:
        """Reaches the statements that run when a module is imported. Returns the module; None if it is not followed."""
        if name in self.modules:
            return self.modules[name]
        file = self._read_file(name)
        self.modules[name] = module = None if file is None else parse_module(name, *file)
        if file is not None and module is not None:
            self.files[name], self.reached[name] = file[0], set()
        parent = name.rpartition(".")[0]
        if parent:
            self.visit_module(parent)
        for place, statement in enumerate(module.statements if module else ()):
            foreign = [item for item in statement.imports if statement.is_import and not self._visit_import(item)]
            if statement.runs or any(item.module.partition(".")[0] not in QUIET for item in foreign):
                self._reach_statement(module, place)
        return module

    def reach_name(self, module: Module, name: str) -> None:
        """Reaches the statements that define a name in a module, or the whole module if none does."""
        places = module.bindings.get(name, range(len(module.statements)))
        for place in places:
            self._reach_statement(module, place)

    def reach_all(self, module: Module) -> None:
        for place in range(len(module.statements)):
            self._reach_statement(module, place)

    def _reach_statement(self, module: Module | None, place: int) -> None:
        if module is not None and place not in self.reached[module.name]:
            self.reached[module.name].add(place)
            self.pending.append((module, place))

    def _process_pending(self) -> None:
        """Reaches, from the pending statements on, all that they import and name."""
        while self.pending:
            module, place = self.pending.pop()
            statement = module.statements[place]
            for item in statement.imports:
                if item.module == COMPUTED:
                    self._follow_folder(module)
                else:
                    self._follow_import(item)
            for name in statement.uses & module.bindings.keys():
                self.reach_name(module, name)
            if statement.is_dynamic:
                self.reach_all(module)

    def _visit_import(self, item: Import) -> bool:
        """Visits the modules of an import. Returns true if one of them is followed."""
        outer = self.visit_module(item.module)
        inner = None if item.name in (None, "*") else self.visit_module(f"{item.module}.{item.name}")
        return outer is not None or inner is not None

    def _follow_import(self, item: Import) -> None:
        """Reaches an imported name, or all of an imported module."""
        self._visit_import(item)
        module = self.modules[item.module]
        if item.name is None:
            names = item.module.split(".")
            for length in range(1, len(names) + 1):
                package = self.visit_module(".".join(names[:length]))
                if package is not None:
                    self.reach_all(package)
            return
        inner = self.modules.get(f"{item.module}.{item.name}")
        if inner is not None:
            self.reach_all(inner)
        if module is not None and (inner is None or item.name in module.bindings):
            self.reach_name(module, item.name)

    def _follow_folder(self, module: Module) -> None:
        """Reaches all modules in the folder of one that imports by a computed name."""
        path = self.files[module.name]
        package = module.name if path.stem == "__init__" else module.name.rpartition(".")[0]
        for neighbour in sorted(path.parent.glob("*.py")):
            other = self.visit_module(".".join(filter(None, (package, neighbour.stem))))
            if other is not None:
                self.reach_all(other)

    @property
    def _followed(self) -> list[Module]:
        return [module for module in self.modules.values() if module is not None]

    def _has_hooks(self) -> bool:
        return any(module.has_hooks for module in self._followed)

    def _is_whole(self, module: Module) -> bool:
        return len(self.reached[module.name]) == len(module.statements)

    def _read_file(self, name: str) -> tuple[Path, bool, bytes] | None:
        """Returns (file, true for a package, content) of a module; None if it is not followed."""
        top = name.partition(".")[0]
        if top in QUIET:
            return None
        spec = self._find_spec(name)
        if spec is None or not spec.has_location or spec.origin is None:
            return None
        path = Path(spec.origin)
        if top != self.own and is_installed(path):
            return None
        try:
            return path, spec.submodule_search_locations is not None, path.read_bytes()
        except OSError:  # the file is gone, or is in an archive
            return None

    def _find_spec(self, name: str) -> ModuleSpec | None:
        """Finds the spec of a module without importing it or its packages."""
        if name not in self.specs:
            parent = name.rpartition(".")[0]
            spec = getattr(sys.modules.get(name), "__spec__", None)
            if spec is None and parent:
                package = self._find_spec(parent)
                folders = package.submodule_search_locations if package else None
                spec = _find_inner_spec(name, folders) if folders else None
            elif spec is None:
                spec = _find_top_spec(name)
            self.specs[name] = spec
        return self.specs[name]


def _find_top_spec(name: str) -> ModuleSpec | None:
    """Finds the spec of a module outside any package."""
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # an invalid name, or a module created at run time
        return None


def _find_inner_spec(name: str, folders: Iterable[str]) -> ModuleSpec | None:
    """Finds the spec of a module of a package."""
    try:
        return PathFinder.find_spec(name, [*folders])
    except KeyError:  # a namespace package inside a package that is not imported
        return None


def is_installed(path: Path) -> bool:
    """Returns true for a file of the standard library or of an installed package, as opposed to one in development."""
    resolved = path.resolve()
    library = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    return not {"site-packages", "dist-packages"}.isdisjoint(resolved.parts) or any(
        resolved.is_relative_to(folder) for folder in library
    )


def _read_stamp(path: Path) -> tuple[int, ...] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _digest_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
