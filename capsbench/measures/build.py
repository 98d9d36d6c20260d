"""From what was asked of ``--measure`` to measures, and which of them a cell has."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from capsbench import registry
from capsbench.errors import ArgumentError, Kind, UsageError
from capsbench.measures.base import Measure
from capsbench.records.cell import Cell

BY_DEFAULT = ("accuracy", "adversarial", "affine", "equivariance", "overlap", "speed", "transformation", "viewpoint")
"""What is measured where the user names nothing: those of them that apply to a cell, in their first setting."""

ALL = "all"
"""Asked for alone: every measure that applies to a cell."""


def make_measure(spec: str) -> Measure:
    """The measure of ``accuracy``, ``speed:full``, ``my.module:Measure`` or ``my.module:Measure:setting``.

    Raises:
        UsageError: an unknown measure or setting.
    """
    name, setting = _parts(spec)
    measure = registry.get("measure", name)
    try:
        made = measure(setting or None)
    except (ValueError, TypeError) as error:
        problem = (
            f"expected {error.expected} as its {error.argument}" if isinstance(error, ArgumentError) else str(error)
        )
        raise UsageError(Kind.INVALID, problem, flag="measure", value=spec) from error
    if not isinstance(made, Measure):
        expected = "a subclass of capsbench.measures.Measure"
        raise UsageError(Kind.INVALID, flag="measure", expected=expected, value=spec)
    return made


def measure_name(spec: str) -> str:
    """The name of a measure without its setting."""
    return _parts(spec)[0]


def checked(specs: Iterable[str]) -> tuple[str, ...]:
    """Measures asked for, in one order and each once: what is measured makes a cell, not how it was asked for.

    Raises:
        UsageError: none, two settings of one, or one that is unknown or cannot be taken on this machine.
    """
    asked = sorted(set(specs))
    if asked == [ALL]:
        return (ALL,)
    if ALL in asked:
        raise UsageError(Kind.CONFLICT, f"{ALL} stands alone", flag="measure", value=", ".join(asked))
    for spec in asked:
        reason = make_measure(spec).missing()
        if reason is not None:
            raise UsageError(Kind.MISSING, reason, flag="measure", value=spec)
    if not asked:
        raise UsageError(Kind.INVALID, flag="measure", expected="at least one measure", value=asked)
    for name, settings in itertools.groupby(sorted(asked, key=measure_name), measure_name):
        twice = list(settings)
        if len(twice) > 1:
            raise UsageError(Kind.INVALID, flag="measure", expected=f"one setting of {name}", value=", ".join(twice))
    return tuple(asked)


def measures_of(cell: Cell, asked: tuple[str, ...] | None) -> tuple[str, ...]:
    """The measures of a cell: those that apply to it of the ones asked for (`checked`), or of `BY_DEFAULT`."""
    named = BY_DEFAULT if asked is None else asked
    specs = registry.names("measure") if named == (ALL,) else named
    open_to_choice = asked is None or asked == (ALL,)
    made = {spec: make_measure(spec) for spec in specs}
    return tuple(
        sorted(spec for spec, each in made.items() if each.applies_to(cell) and not (open_to_choice and each.missing()))
    )


def left_out(asked: tuple[str, ...] | None) -> dict[str, str]:
    """Measure -> why it cannot be taken on this machine, of those that would be taken by default or of all."""
    specs = BY_DEFAULT if asked is None else registry.names("measure") if asked == (ALL,) else ()
    reasons = {spec: make_measure(spec).missing() for spec in specs}
    return {spec: reason for spec, reason in reasons.items() if reason is not None}


def _parts(spec: str) -> tuple[str, str]:
    name, _, setting = spec.partition(":")
    if setting and name not in registry.names("measure"):
        attribute, _, setting = setting.partition(":")
        name = f"{name}:{attribute}"
    return name, setting
