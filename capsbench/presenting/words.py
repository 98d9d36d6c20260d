"""Names and values of fields and options as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

TIMES = "\N{MULTIPLICATION SIGN}"
"""The sign before a number of iterations."""

TIED = "\N{NO-BREAK SPACE}"
"""Keeps what stands before and behind it on one line."""


def shorten_name(name: str) -> str:
    """A user's own part goes by its attribute: ``my_package.my_module:MyRouting`` -> ``MyRouting``."""
    return name.rpartition(":")[2]


def shorten_names(names: Iterable[str]) -> dict[str, str]:
    """Each name -> its short one, or the name itself where two would share one."""
    known = set(names)
    shared = [shorten_name(name) for name in known]
    return {name: shorten_name(name) if shared.count(shorten_name(name)) == 1 else name for name in known}


def strip_component(column: str) -> str:
    """A column's name without its component: ``routing.beta`` -> ``beta``."""
    for component in ("dataset.", "network.", "routing.", "loss.", "tuning."):
        column = column.removeprefix(component)
    return column


UNITS_OF_N = {"seed": "seeds", "study": "studies"}
"""What n counts -> its plural: seeds, and studies of a tuned contender."""


def spell_count(n: int, unit: str) -> str:
    """Returns ``1 seed`` or ``4 studies``."""
    return f"{n} {unit if n == 1 else UNITS_OF_N[unit]}"


def spell_value(value: Any) -> str:
    """A field's or an option's value as its flag takes it: ``9.0`` -> ``9``, ``True`` -> ``yes``, ``None`` -> ``none``."""
    if hasattr(value, "item"):  # a scalar of numpy, from the row of a table; numpy is slow to import
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
