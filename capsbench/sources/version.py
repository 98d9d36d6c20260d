"""The version that a component declares, parsed from its source file: importing most components would import torch."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path


@cache
def read_version(path: str) -> int:
    """Returns the value of ``module:CONSTANT``, or of ``version`` in the class ``module:Class``; 1 if there is none."""
    module, _, attribute = path.partition(":")
    top = importlib.util.find_spec(module.partition(".")[0])
    assert top is not None
    assert top.origin is not None
    source = Path(top.origin).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    statements = ast.parse(source.read_text(encoding="utf-8")).body
    for statement in statements:
        if isinstance(statement, ast.ClassDef) and statement.name == attribute:
            return _assigned_number(statement.body, "version") or 1
    return _assigned_number(statements, attribute) or 1


def _assigned_number(statements: list[ast.stmt], name: str) -> int | None:
    """Returns the number that one of the statements assigns to a name."""
    for statement in statements:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(statement.value, ast.Constant):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return int(statement.value.value)  # type: ignore[arg-type]
    return None
