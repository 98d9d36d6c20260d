"""The flags of a request: fields of the Cell, and options of its parts, which no command declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from capsbench.cli.console import print_warning
from capsbench.errors import Kind, UsageError
from capsbench.measures.build import NONE
from capsbench.planning.request import ONE_LIST

MANY_CELLS = 100
"""The number of cells from which planning takes so long that it is announced."""


@contextmanager
def suggest_flags(context: typer.Context) -> Iterator[None]:
    """Adds the flags of the command to those that the refusal of an unknown one names: ``--worker`` may be ``--workers``."""
    try:
        yield
    except UsageError as error:
        if error.kind is Kind.UNKNOWN and error.value == error.flag and isinstance(error.expected, tuple):
            declared = (_to_python_name(flag.opts[0]) for flag in context.command.params)
            error.expected = tuple(sorted({*error.expected, *declared}))
        raise


def refuse_arguments(options: Iterable[str], *functions: Callable[..., Any]) -> None:
    """Refuses flags that a command does not declare and that are arguments of functions that it calls, such as ``console``."""
    arguments = {name for function in functions for name in inspect.signature(function).parameters}
    for name in options:
        if name in arguments:
            raise UsageError(Kind.UNKNOWN, flag=name, value=name, expected=())


def announce_count(count: int) -> None:
    if count > MANY_CELLS:
        print_warning(f"planning up to {count:,} cells")


def choose_measures(measure: str | None, no_measure: bool) -> str | None:
    """Returns the measures asked for; raises UsageError if none are wanted and some are named."""
    if no_measure and measure is not None:
        problem = "conflicts with {flag:measure}"
        raise UsageError(Kind.CONFLICT, problem, flag="no_measure", expected="give one of them")
    return NONE if no_measure else measure


def parse_flags(arguments: list[str]) -> list[str]:
    """Parses flags that are not declared, such as ``--squash unit,sabour``, into NAME=VALUES.

    VALUES are empty if none are given: whether there is such a flag, and what it takes, is known once the parts are.
    """
    axes, rest = [], [*arguments]
    while rest:
        argument = rest.pop(0)
        name, equals, values = argument.partition("=")
        if not name.startswith("--") or name == "--":
            raise UsageError(Kind.INVALID, expected="flags only", value=argument)
        if not equals and rest and not rest[0].startswith("--"):
            values = rest.pop(0)
        axes.append(f"{name.removeprefix('--')}={values}")
    return axes


def _to_python_name(name: str) -> str:
    """Converts a flag to its name in Python: ``--train-size`` to ``train_size``."""
    return name.removeprefix("--").replace("-", "_")


def parse_options(axes: list[str], named: Mapping[str, str | None]) -> dict[str, str]:
    """Parses NAME=VALUES into a request; raises UsageError for a name that is given twice or also as a flag."""
    options: dict[str, str] = {}
    for axis in axes:
        name, equals, values = axis.partition("=")
        if not equals or not name:
            raise UsageError(Kind.INVALID, flag="axis", expected="NAME=A,B,...", value=axis)
        key = _to_python_name(name.strip())
        if key in options or named.get(key) is not None:
            raise UsageError(Kind.CONFLICT, "given twice", flag=key, expected=ONE_LIST)
        options[key] = values
    return options
