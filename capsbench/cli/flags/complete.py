"""Completes values on the command line where the shell asks for it: names of components, of suites, and cells on record."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from capsbench import registry
from capsbench.planning.request import BASELINE_FLAG, MEASURE_FLAG, canonical_name, list_choices
from capsbench.records.cell import Cell, asked_fields

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
        return complete_components(*KINDS[flag])
    field = asked_fields().get(flag)
    choices = (
        [] if field is None else ["yes", "no"] if Cell.model_fields[field].annotation is bool else list_choices(field)
    )
    return complete_list(choices) if choices else None


def complete_components(*kinds: str) -> Complete:
    """Returns a function that completes the last name of a list of built-in components of some kinds."""
    return _complete_last(lambda: (name for kind in kinds for name in registry.names(kind)))


def complete_component(*kinds: str) -> Complete:
    """Returns a function that completes the name of a built-in component of some kinds."""
    return lambda incomplete: _begin_like(incomplete, (name for kind in kinds for name in registry.names(kind)))


def complete_list(choices: Iterable[str]) -> Complete:
    """Returns a function that completes the last of some choices A,B,..."""
    return _complete_last(lambda: choices)


def complete_choice(choices: Iterable[str]) -> Complete:
    """Returns a function that completes one of some choices."""
    return lambda incomplete: _begin_like(incomplete, choices)


def _begin_like(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def complete_condition(incomplete: str) -> list[str]:
    """Completes ``NAME=A,B`` or ``NAME!=A,B``: the name of a field, and the values that have names."""
    name, equals, values = incomplete.partition("=")
    if not equals:
        # A shell adds a space to a single candidate. Of these two it completes what they share, and none is added.
        return _begin_like(incomplete, (f"{flag}{sign}" for flag in asked_fields() for sign in ("=", "!=")))
    complete = complete_flag(canonical_name(name.removesuffix("!")))
    return [f"{name}={value}" for value in complete(values)] if complete else []


def _complete_last(list_names: Callable[[], Iterable[str]]) -> Complete:
    """Returns a function that completes the last name of a list A,B,..."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        chosen = before.split(",")
        return [f"{before}{comma}{name}" for name in list_names() if name.startswith(last) and name not in chosen]

    return complete


def complete_suite(incomplete: str) -> list[str]:
    """Completes the name of a suite that ships with capsbench."""
    from capsbench.planning.suites import suite_names

    return _begin_like(incomplete, suite_names())


def complete_row(context: typer.Context, incomplete: str) -> list[str]:
    """Completes the name of a published row, or the identity of a cell on record in ``results``."""
    from capsbench.planning.suites import suite_names
    from capsbench.planning.suites.rows import list_rows

    rows = (name for suite in suite_names() for name in list_rows(suite))
    return [*_begin_like(incomplete, rows), *complete_cell(context, incomplete)]


def complete_cell(context: typer.Context, incomplete: str) -> list[str]:
    """Completes the identity of a cell on record in the results folder; no record is read."""
    named = [Path(context.params[name]) for name in ("folder", "out") if context.params.get(name)]
    folder = next((path for path in named if (path / "records").is_dir()), Path("results"))
    return sorted(path.stem for path in folder.glob("records/*.json") if path.stem.startswith(incomplete))
