"""Modules as lists of statements for a component's digest: the names that each defines, uses and imports, and its effects.

A statement that only defines a function, a class or a constant counts if its name is used. A statement that may have an effect
when its module is imported always counts.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

HARMLESS = {
    "abc", "collections", "dataclasses", "enum", "fractions", "functools", "itertools", "math", "operator", "pathlib", "re",
    "typing", "typing_extensions",
}  # fmt: skip
"""Modules whose functions have no effect when called or used as decorators, except for their value."""

HARMLESS_CALLS = {"torch.no_grad", "torch.inference_mode", "torch.enable_grad"}
"""Decorators of methods without effect."""

BUILT_IN = {
    "abs", "bool", "classmethod", "complex", "dict", "float", "frozenset", "int", "len", "list", "max", "min", "object",
    "property", "range", "round", "set", "slice", "sorted", "staticmethod", "str", "sum", "tuple", "zip",
}  # fmt: skip
"""Built-in functions without effect."""

DYNAMIC = {"eval", "exec", "globals", "locals", "vars", "__import__", "import_module"}
"""Names by which code can reach more than it names."""

HOOKS = {"__init_subclass__", "__set_name__", "__subclasses__"}
"""Methods by which the definition of a class can change another class."""


class Import(NamedTuple):
    """An import of ``name`` from ``module``, or of the module itself if ``name`` is None.

    If the name of the module is computed, ``module`` is `COMPUTED`.
    """

    module: str
    name: str | None


LOADERS = {"spec_from_file_location", "spec_from_loader", "SourceFileLoader", "run_path", "run_module", "load_source"}
"""Functions that load a module from a path."""

COMPUTED = ""


class Statement(NamedTuple):
    """A statement at the top level of a module.

    - ``text``: its syntax tree, without docstrings
    - ``uses``: the names in it, and strings that may be names
    - ``imports``: all imports in it
    - ``is_import``: true if it is only an import
    - ``runs``: true if it may have an effect when the module is imported, beyond its definitions
    - ``is_dynamic``: true if it may reach more of its module than it names
    """

    text: str
    uses: frozenset[str] = frozenset()
    imports: tuple[Import, ...] = ()
    is_import: bool = False
    runs: bool = False
    is_dynamic: bool = False


class Module(NamedTuple):
    """A module: its statements, and name -> indices of the statements that define it.

    ``has_hooks`` is true if the definition of a class may change other classes.
    """

    name: str
    statements: list[Statement]
    bindings: dict[str, list[int]]
    has_hooks: bool = False


@lru_cache(maxsize=1024)
def parse_module(name: str, path: Path, is_package: bool, content: bytes) -> Module:
    """Parses the module of a file. A file other than Python source, such as an extension, is one statement with an effect."""
    try:
        if path.suffix != ".py":
            raise SyntaxError
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return Module(name, [Statement(hashlib.sha256(content).hexdigest(), runs=True)], {})
    reader = _Reader(name if is_package else name.rpartition(".")[0], tree, keeps_strings=b"__doc__" in content)
    statements: list[Statement] = []
    bindings: dict[str, list[int]] = {}
    for node in _split_imports(tree.body):
        if _is_skipped(node):
            continue
        for bound in _bound_names(node):
            bindings.setdefault(bound, []).append(len(statements))
        statements.append(reader.read_statement(node))
    return Module(name, statements, bindings, any(map(_is_hook, ast.walk(tree))))


class _Reader:
    """Converts nodes of a module to statements.

    Args:
        package: the package of relative imports.
        keeps_strings: true if docstrings count, because the code reads them.
    """

    def __init__(self, package: str, tree: ast.Module, keeps_strings: bool) -> None:
        self.package = package
        self.keeps_strings = keeps_strings
        self.quiet = {
            alias.asname or alias.name.partition(".")[0]
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
            if (node.module or "" if isinstance(node, ast.ImportFrom) else alias.name).partition(".")[0] in HARMLESS
        }
        defined = {name for node in tree.body for name in _bound_names(node)}
        self.quiet |= BUILT_IN - defined

    def read_statement(self, node: ast.stmt) -> Statement:
        inner = list(ast.walk(node))
        return Statement(
            text=self._to_text(node),
            uses=frozenset(_used_names(inner)),
            imports=tuple(item for child in inner for item in self._find_imports(child)),
            is_import=isinstance(node, ast.Import | ast.ImportFrom),
            runs=not self._only_defines(node),
            is_dynamic=any(map(_is_dynamic, inner)),
        )

    def _to_text(self, node: object) -> str:
        """Converts a tree to text that is the same in every version of Python, unlike that of `ast.dump`."""
        if isinstance(node, list):
            items = [item for item in node if self.keeps_strings or not _does_nothing(item)]
            return f"[{', '.join(map(self._to_text, items))}]"
        if not isinstance(node, ast.AST):
            return repr(node)
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []) and name != "kind")
        return f"{type(node).__name__}({', '.join(f'{name}={self._to_text(value)}' for name, value in fields)})"

    def _find_imports(self, node: ast.AST) -> Iterator[Import]:
        """Yields the imports that a node itself makes."""
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (Import(self._to_absolute(node.module or "", node.level), alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and _last_name(node.func) in ("import_module", "__import__") and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                plain = argument.value.lstrip(".")
                yield Import(self._to_absolute(plain, len(argument.value) - len(plain)), None)
            else:
                yield Import(COMPUTED, None)
        elif isinstance(node, ast.Call) and _last_name(node.func) in LOADERS:
            yield Import(COMPUTED, None)

    def _to_absolute(self, module: str, level: int) -> str:
        """Returns the absolute name of a module imported with ``level`` leading dots."""
        names = self.package.split(".") if level else []
        return ".".join(filter(None, [*names[: len(names) - level + 1], module]))

    def _only_defines(self, node: ast.stmt) -> bool:
        """Returns true if a statement only binds names to values."""
        if isinstance(node, ast.Import):
            return True
        if isinstance(node, ast.ImportFrom):
            return node.module != "__future__" and node.names[0].name != "*"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
            annotations = [argument.annotation for argument in named if argument is not None]
            values = [*node.decorator_list, *arguments.defaults, *arguments.kw_defaults, *annotations, node.returns]
            return all(map(self._is_quiet, values))
        if isinstance(node, ast.ClassDef):
            values = [*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)]
            body = (self._only_defines(statement) or _does_nothing(statement) for statement in node.body)
            return all(map(self._is_quiet, values)) and all(body)
        if isinstance(node, ast.Assign):
            return all(map(_is_plain_target, node.targets)) and self._is_quiet(node.value)
        if isinstance(node, ast.AnnAssign):
            return _is_plain_target(node.target) and self._is_quiet(node.value) and self._is_quiet(node.annotation)
        return False

    def _is_quiet(self, node: ast.expr | None) -> bool:
        """Returns true if an expression has no effect except for its value."""
        if node is None or isinstance(node, ast.Lambda):
            return True
        if isinstance(node, ast.Await | ast.Yield | ast.YieldFrom | ast.NamedExpr):
            return False
        if isinstance(node, ast.Call) and not self._is_harmless(node.func):
            return False
        children = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr_context)]
        inner = [child.value if isinstance(child, ast.keyword) else child for child in children]
        return all(self._is_quiet(child) for child in inner if isinstance(child, ast.expr))

    def _is_harmless(self, function: ast.expr) -> bool:
        return _first_name(function) in self.quiet or ast.unparse(function) in HARMLESS_CALLS


def _split_imports(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yields the statements, with an import of several names split into one import per name, so that each counts alone."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (ast.Import([alias]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (ast.ImportFrom(node.module, [alias], node.level) for alias in node.names)
        else:
            yield node


def _is_skipped(node: ast.stmt) -> bool:
    """Returns true if a statement never matters to an import: it does nothing, or runs only in a script or a type checker."""
    if not isinstance(node, ast.If) or node.orelse:
        return _does_nothing(node)
    test = node.test
    if isinstance(test, ast.Compare):
        return ast.unparse(test) in ("__name__ == '__main__'", "'__main__' == __name__")
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _does_nothing(node: object) -> bool:
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _bound_names(node: ast.stmt) -> set[str]:
    """Returns the names that a statement defines in its module."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    names = set()
    for child in ast.walk(node):
        if isinstance(child, ast.Name) and not isinstance(child.ctx, ast.Load):
            names.add(child.id)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(child.name)
        elif isinstance(child, ast.alias):
            names.add(child.asname or child.name.partition(".")[0])
    return names


def _used_names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yields the names that nodes use, and the strings that may be names."""
    for node in nodes:
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Global):
            yield from node.names
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            yield node.value  # as in getattr(module, "name")


def _is_dynamic(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
        return len(node.args) < 2 or not isinstance(node.args[1], ast.Constant)
    if isinstance(node, ast.alias):
        return node.name == "*"
    return (isinstance(node, ast.Name) and node.id in DYNAMIC) or (
        isinstance(node, ast.Attribute) and node.attr in ("__dict__", "modules", "import_module")
    )


def _is_hook(node: ast.AST) -> bool:
    if isinstance(node, ast.ClassDef):
        return any(keyword.arg != "metaclass" or _last_name(keyword.value) != "ABCMeta" for keyword in node.keywords)
    if isinstance(node, ast.FunctionDef):
        return node.name in HOOKS
    return isinstance(node, ast.Attribute) and node.attr in HOOKS


def _is_plain_target(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple | ast.List):
        return all(map(_is_plain_target, node.elts))
    return isinstance(node, ast.Name)


def _last_name(node: ast.expr) -> str:
    """Returns the last name of ``a.b.c``."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _first_name(node: ast.expr) -> str:
    """Returns the first name of ``a.b.c``."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
