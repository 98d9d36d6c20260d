"""Names and values of fields and options as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

TIMES = "\N{MULTIPLICATION SIGN}"
"""Stands before a number of iterations."""


def short(name: str) -> str:
    """A user's own part goes by its attribute: ``my_package.my_module:MyRouting`` -> ``MyRouting``."""
    return name.rpartition(":")[2]


def shorten(names: Iterable[str]) -> dict[str, str]:
    """Each name -> its short one, or the name itself where two would share one."""
    known = set(names)
    shared = [short(name) for name in known]
    return {name: short(name) if shared.count(short(name)) == 1 else name for name in known}


def option(column: str) -> str:
    """A column's name without its component: ``routing.beta`` -> ``beta``."""
    return column.removeprefix("network.").removeprefix("routing.").removeprefix("loss.")


def value(value: Any) -> str:
    """A field's or an option's value as its flag takes it: ``9.0`` -> ``9``, ``True`` -> ``yes``, ``None`` -> ``none``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
