"""Suites: requests as TOML files. Those in this folder ship with capsbench and are known by their names."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from capsbench.errors import Kind, UsageError
from capsbench.planning.request import (
    BASELINE_FLAG,
    BASELINE_SIZE_FLAG,
    MEASURE_FLAG,
    canonical_name,
    check_names,
    split_values,
)
from capsbench.planning.suites.published import Published, RowError, read_rows
from capsbench.records.cell import asked_fields, fields_of, flag_of
from capsbench.records.declaration import Role
from capsbench.records.disk import read_file

FOLDER = Path(__file__).parent

MATRIX, PUBLISHED, AXIS, DEVIATIONS = "matrix", "published", "axis", "deviations"
"""The tables of a suite: each [[matrix]] is a request, each [[published]] a row of the paper; [axis] holds options.
Deviations are a list of sentences."""


SELECTING = [flag_of(name) for name in fields_of(Role.TASK, Role.NETWORK) if name != "size"]
"""The flags that select among the matrices of a suite; any size can be asked for of each."""


@dataclass(frozen=True)
class Suite:
    """The requests of a suite, and the published numbers that it reproduces.

    Args:
        name: its name, or its file.
        matrices: one request each (`capsbench.planning.matrix.cells_of`).
        published: rows of the paper's tables; most of a user's own suites have none.
        deviations: what of the paper's protocol the suite does otherwise, or the paper does not state, a sentence each.
    """

    name: str
    matrices: list[dict[str, Any]]
    published: list[Published]
    deviations: tuple[str, ...] = ()

    def override_with(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Returns the matrices with the values of ``request`` in place of their own.

        Values of `SELECTING` select among the matrices, if these have all of them: ``--dataset mnist`` keeps the matrices on
        MNIST, and does not put those of other data sets on it.
        """
        check_names(request)
        return _select_matrices(self.matrices, {canonical_name(name): value for name, value in request.items()})


def suite_names() -> list[str]:
    """Returns the names of the suites that ship with capsbench."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_suite(name: str | Path) -> Suite:
    """Reads a suite by its name or file; raises UsageError with the file's name if that fails.

    A suite uses the names of the command line's flags: ``routing = ["dynamic", "em"]``, ``train-size = 1000``. Options of
    networks and routings are in a table ``[axis]``; ``description`` is for people. Each ``[[matrix]]`` is its own request: it
    adds to the values above all matrices, or overrides them, and may have its own ``[matrix.axis]``. The suite is the union of
    its matrices. Each ``[[published]]`` is a row of the paper's table (`capsbench.planning.suites.published.Published`), and
    ``deviations`` a list of what the suite does otherwise than the paper.
    """
    path = FOLDER / f"{name}.toml" if str(name) in suite_names() else Path(name)
    try:
        text = read_file(path).decode()
        content = tomllib.loads(text)
        rows = tomllib.loads(text, parse_float=Decimal).get(PUBLISHED, [])  # with the digits as they are printed
    except (FileNotFoundError, NotADirectoryError) as error:
        known = [*suite_names(), "a TOML file"]
        raise UsageError(Kind.UNKNOWN, flag="suite", value=str(name), expected=known) from error
    except (OSError, UnicodeDecodeError, RecursionError, tomllib.TOMLDecodeError) as error:
        problem = f"not TOML that can be read: {error}"
        raise UsageError(Kind.DAMAGED, problem, flag="suite", file=path) from error
    content.pop("description", None)
    content.pop(PUBLISHED, None)
    deviations = content.pop(DEVIATIONS, [])
    if not isinstance(deviations, list) or not all(isinstance(text, str) for text in deviations):
        expected = f"a list of sentences, {DEVIATIONS}"
        raise UsageError(Kind.INVALID, flag="suite", file=path, expected=expected, value=deviations)
    try:
        published = read_rows(_check_tables(PUBLISHED, rows, path))
    except RowError as error:
        raise UsageError(Kind.INVALID, str(error), flag="suite", file=path) from error
    matrices = _check_tables(MATRIX, content.pop(MATRIX, [{}]), path)
    shared = _read_request(content, path)
    requests = [shared | _read_request(matrix, path) for matrix in matrices]
    return Suite(str(name), requests, published, tuple(deviations))


def describe_suite(name: str) -> str:
    """Returns a suite's description, one line."""
    return str(tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8")).get("description", ""))


def _select_matrices(matrices: list[dict[str, Any]], request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the matrices that have the values which the request selects, with only those values."""
    for name in SELECTING:
        asked = {str(value) for value in split_values(request.get(name, []))}
        if asked and asked <= {str(value) for matrix in matrices for value in split_values(matrix.get(name, []))}:
            narrowed = [
                matrix | {name: [value for value in split_values(matrix[name]) if str(value) in asked]}
                if name in matrix
                else matrix
                for matrix in matrices
            ]
            matrices = [matrix for matrix in narrowed if matrix.get(name) != []]
            request = {key: value for key, value in request.items() if key != name}
    return [{**matrix, **request} for matrix in matrices]


def _check_tables(key: str, tables: Any, path: Path) -> list[dict[str, Any]]:
    """Returns the tables of a key; raises UsageError for anything else."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(Kind.INVALID, flag="suite", file=path, expected=f"a list of tables, [[{key}]]", value=tables)
    return tables


def _read_request(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Returns a table of the file as a request, with the options of its ``axis`` among the other names."""
    options = table.get(AXIS, {})
    if not isinstance(options, dict):
        expected = "a table of options, [axis] or [matrix.axis]"
        raise UsageError(Kind.INVALID, flag="suite", file=path, expected=expected, value=options)
    known = [name.replace("_", "-") for name in (*asked_fields(), MEASURE_FLAG, BASELINE_FLAG, BASELINE_SIZE_FLAG)]
    request = {}
    for key, value in table.items():
        if key == AXIS:
            continue
        if key.replace("_", "-") not in known:
            raise UsageError(
                Kind.UNKNOWN, "options go under [axis]", flag="suite", file=path, value=key, expected=known
            )
        request[key] = value
    check_names([*request, *options])
    return {canonical_name(name): value for name, value in (request | options).items()}
