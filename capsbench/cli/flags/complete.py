"""Completes values on the command line where the shell asks for it: names of components, of suites, and cells on record."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from capsbench import registry
from capsbench.planning.request import BASELINE_FLAG, MEASURE_FLAG, list_choices
from capsbench.records.cell import asked_fields

Complete = Callable[[str], list[str]]
"""What is typed of a value -> the values that begin like this."""

KINDS = {
    "dataset": ("dataset",),
    "network": ("network", "baseline"),
    "routing": ("routing",),
    "loss": ("loss",),
    BASELINE_FLAG: ("baseline",),
    MEASURE_FLAG: ("measure",),
}
"""Flag -> the kinds of components that it names."""


def complete_flag(flag: str) -> Complete | None:
    """Returns the function that completes a flag that takes a list A,B,...; None if its values have no names."""
    if flag in KINDS:
        return _complete_list(lambda: (name for kind in KINDS[flag] for name in registry.names(kind)))
    choices = list_choices(asked_fields()[flag]) if flag in asked_fields() else []
    return _complete_list(lambda: choices) if choices else None


def _complete_list(list_names: Callable[[], Iterable[str]]) -> Complete:
    """Returns a function that completes the last name of a list A,B,..."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        chosen = before.split(",")
        return [f"{before}{comma}{name}" for name in list_names() if name.startswith(last) and name not in chosen]

    return complete


def complete_suite(incomplete: str) -> list[str]:
    """Completes the name of a suite that ships with capsbench."""
    from capsbench.planning.suites import suite_names

    return [name for name in suite_names() if name.startswith(incomplete)]


def complete_row(context: typer.Context, incomplete: str) -> list[str]:
    """Completes the name of a published row, or the identity of a cell on record in ``results``."""
    from capsbench.planning.suites import suite_names
    from capsbench.planning.suites.rows import list_rows

    rows = [name for suite in suite_names() for name in list_rows(suite) if name.startswith(incomplete)]
    return [*rows, *complete_cell(context, incomplete)]


def complete_cell(context: typer.Context, incomplete: str) -> list[str]:
    """Completes the identity of a cell on record in the results folder; no record is read."""
    named = [Path(context.params[name]) for name in ("folder", "out") if context.params.get(name)]
    folder = next((path for path in named if (path / "records").is_dir()), Path("results"))
    return sorted(path.stem for path in folder.glob("records/*.json") if path.stem.startswith(incomplete))
