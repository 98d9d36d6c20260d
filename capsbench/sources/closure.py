"""The source that a user's own component is made of: what it reaches in its module, and in the modules that this imports.

A component's digest is of syntax trees without docstrings, so that neither a comment nor a line break makes another component. It
goes through imports, since a routing is also what it takes from the file beside it. Of a module counts

- what the component reaches from its name on: classes, functions and constants, by the names that stand in them;
- what runs when the module is imported: every statement that is more than a definition (`capsbench.sources.syntax`).

Where names do not tell what is reached (``globals()``, ``exec``, a star import), the whole module counts. Modules of the standard
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
"""Packages whose components say by a version what they are."""

QUIET = sys.stdlib_module_names | {"torch", "torchvision", "numpy", "scipy", "pandas", *OURS}
"""Packages that change nothing by being imported, and that are known by their versions: they are never followed."""


class Source(NamedTuple):
    """What a component is made of.

    - ``parts``: module -> digest of what of it counts
    - ``files``: module -> file, of all modules that are imported with the component
    - ``stamps``: those files -> what the file system says of their last change, None where one is gone
    - ``absent``: modules that are imported where they are there, and are not
    """

    parts: dict[str, str]
    files: dict[str, Path]
    stamps: dict[Path, tuple[int, ...] | None]
    absent: list[str]

    @property
    def is_current(self) -> bool:
        """Whether no file was changed or came since."""
        changed = self.stamps != {path: _stamp(path) for path in self.stamps}
        return not changed and not any(map(_spec_of_top, self.absent))

    @property
    def digest(self) -> str:
        """One digest of all parts, 12 hexadecimal digits."""
        return _digest("\n".join(f"{module} {digest}" for module, digest in sorted(self.parts.items())))


_sources: dict[tuple[str, str, str | None], Source] = {}
"""(module, attribute, file of the module) -> its source when it was last read."""


def read_source(module: str, attribute: str) -> Source | None:
    """The source of ``module:attribute``, which is imported, as its files are now; None where it has no file."""
    key = module, attribute, getattr(sys.modules.get(module), "__file__", None)
    known = _sources.get(key)
    if known is not None and known.is_current:
        return known
    closure = _Closure(module.partition(".")[0])
    start = closure.touch(module)
    if start is None:
        return None
    closure.reach_name(start, attribute)
    _sources[key] = closure.source()
    return _sources[key]


def forget_modules(names: Iterable[str]) -> None:
    """Takes modules and what lies in them out of those that are imported, so that the next import reads their files."""
    names = set(names)
    for name, module in list(sys.modules.items()):
        if not any(name == each or name.startswith(f"{each}.") for each in names):
            continue
        path = getattr(module, "__file__", None)
        if path is None or path.endswith(".py"):  # an extension cannot be loaded twice
            del sys.modules[name]
        if path is not None and path.endswith(".py"):
            # Python holds a compiled file against seconds and bytes alone, which an edit may leave as they are.
            with suppress(OSError, NotImplementedError):
                Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)
    importlib.invalidate_caches()


def changed_parts(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The modules of which another part counts now, or none any more."""
    return sorted(module for module in {*before, *now} if before.get(module) != now.get(module))


class _Closure:
    """Walks from a component to all that it reaches.

    Args:
        own: the component's package, which is followed even where it is installed.
    """

    def __init__(self, own: str) -> None:
        self.own = own
        self.modules: dict[str, Module | None] = {}
        self.files: dict[str, Path] = {}
        self.reached: dict[str, set[int]] = {}
        self.pending: list[tuple[Module, int]] = []
        self.specs: dict[str, ModuleSpec | None] = {}

    def source(self) -> Source:
        """What is reached from all that was touched and named so far."""
        self._settle()
        # Where a class may act on another by being defined, no class is known to be unrelated.
        while self._has_hooks() and (partial := [each for each in self._followed() if not self._is_whole(each)]):
            for module in partial:
                self.reach_all(module)
            self._settle()
        texts = {
            module.name: "\n".join(module.statements[place].text for place in sorted(self.reached[module.name]))
            for module in self._followed()
        }
        parts = {name: _digest(text) for name, text in texts.items() if text}
        absent = [name for name, spec in self.specs.items() if spec is None and "." not in name]
        return Source(parts, self.files, {path: _stamp(path) for path in self.files.values()}, absent)

    def touch(self, name: str) -> Module | None:
        """A module that is imported: what runs then counts. None for one that is not followed."""
        if name in self.modules:
            return self.modules[name]
        found = self._find(name)
        self.modules[name] = module = None if found is None else parse_module(name, *found)
        if found is not None and module is not None:
            self.files[name], self.reached[name] = found[0], set()
        parent = name.rpartition(".")[0]
        if parent:
            self.touch(parent)
        for place, statement in enumerate(module.statements if module else ()):
            foreign = [each for each in statement.imports if statement.is_import and not self._touch_import(each)]
            if statement.runs or any(each.module.partition(".")[0] not in QUIET for each in foreign):
                self._reach(module, place)
        return module

    def reach_name(self, module: Module, name: str) -> None:
        """What defines a name in a module counts; all of the module where nothing does."""
        places = module.bindings.get(name, range(len(module.statements)))
        for place in places:
            self._reach(module, place)

    def reach_all(self, module: Module) -> None:
        for place in range(len(module.statements)):
            self._reach(module, place)

    def _reach(self, module: Module | None, place: int) -> None:
        if module is not None and place not in self.reached[module.name]:
            self.reached[module.name].add(place)
            self.pending.append((module, place))

    def _settle(self) -> None:
        """Goes on from what counts to what it names."""
        while self.pending:
            module, place = self.pending.pop()
            statement = module.statements[place]
            for each in statement.imports:
                if each.module == COMPUTED:
                    self._follow_folder(module)
                else:
                    self._follow(each)
            for name in statement.uses & module.bindings.keys():
                self.reach_name(module, name)
            if statement.is_dynamic:
                self.reach_all(module)

    def _touch_import(self, each: Import) -> bool:
        """Whether a module that is imported is followed."""
        outer = self.touch(each.module)
        inner = None if each.name in (None, "*") else self.touch(f"{each.module}.{each.name}")
        return outer is not None or inner is not None

    def _follow(self, each: Import) -> None:
        """What is imported by name counts, and all of a module that is imported itself."""
        self._touch_import(each)
        module = self.modules[each.module]
        if each.name is None:
            names = each.module.split(".")
            for length in range(1, len(names) + 1):
                within = self.touch(".".join(names[:length]))
                if within is not None:
                    self.reach_all(within)
            return
        inner = self.modules.get(f"{each.module}.{each.name}")
        if inner is not None:
            self.reach_all(inner)
        if module is not None and (inner is None or each.name in module.bindings):
            self.reach_name(module, each.name)

    def _follow_folder(self, module: Module) -> None:
        """All modules beside one that imports by a name that is not written there."""
        path = self.files[module.name]
        package = module.name if path.stem == "__init__" else module.name.rpartition(".")[0]
        for beside in sorted(path.parent.glob("*.py")):
            other = self.touch(".".join(filter(None, (package, beside.stem))))
            if other is not None:
                self.reach_all(other)

    def _followed(self) -> list[Module]:
        return [module for module in self.modules.values() if module is not None]

    def _has_hooks(self) -> bool:
        return any(module.has_hooks for module in self._followed())

    def _is_whole(self, module: Module) -> bool:
        return len(self.reached[module.name]) == len(module.statements)

    def _find(self, name: str) -> tuple[Path, bool, bytes] | None:
        """The file of a module that is followed, whether it is a package's, and its content."""
        top = name.partition(".")[0]
        if top in QUIET:
            return None
        spec = self._spec(name)
        if spec is None or not spec.has_location or spec.origin is None:
            return None
        path = Path(spec.origin)
        if top != self.own and _is_installed(path):
            return None
        try:
            return path, spec.submodule_search_locations is not None, path.read_bytes()
        except OSError:  # it is gone, or lies in an archive
            return None

    def _spec(self, name: str) -> ModuleSpec | None:
        """Where a module lies, without importing it or what it lies in."""
        if name not in self.specs:
            parent = name.rpartition(".")[0]
            spec = getattr(sys.modules.get(name), "__spec__", None)
            if spec is None and parent:
                package = self._spec(parent)
                where = package.submodule_search_locations if package else None
                spec = _spec_in(name, where) if where else None
            elif spec is None:
                spec = _spec_of_top(name)
            self.specs[name] = spec
        return self.specs[name]


def _spec_of_top(name: str) -> ModuleSpec | None:
    """Where a module lies that is in no package."""
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # no name at all, or a module made by hand
        return None


def _spec_in(name: str, folders: Iterable[str]) -> ModuleSpec | None:
    """Where a module of a package lies."""
    try:
        return PathFinder.find_spec(name, [*folders])
    except KeyError:  # the folders of a namespace package that lies in one that is not imported
        return None


def _is_installed(path: Path) -> bool:
    """Whether a file is of the standard library or of an installed package, rather than one that somebody works on."""
    resolved = path.resolve()
    library = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    return not {"site-packages", "dist-packages"}.isdisjoint(resolved.parts) or any(
        resolved.is_relative_to(folder) for folder in library
    )


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
