"""From what was asked of ``--measure`` to measures, and which of them a cell has."""

from __future__ import annotations

from collections.abc import Iterable

from capsbench import registry
from capsbench.errors import ArgumentError, Kind, UsageError
from capsbench.measures.base import Measure
from capsbench.records.cell import Cell
from capsbench.records.record import Measurement
from capsbench.registry import measure_name, split_spec

BY_DEFAULT = (
    "accuracy",
    "adversarial",
    "affine",
    "cost",
    "equivariance",
    "overlap",
    "speed",
    "transformation",
    "viewpoint",
)
"""What is measured where the user names nothing: those of them that apply to a cell, in their first setting."""

ALL = "all"
"""Asked for alone: every measure that applies to a cell."""

NONE = "none"
"""Asked for alone: no measure, training only."""


def make_measure(spec: str) -> Measure:
    """The measure of ``accuracy``, ``speed:full``, ``my.module:Measure`` or ``my.module:Measure:setting``.

    Raises:
        UsageError: an unknown measure or setting.
    """
    name, setting = split_spec(spec)
    measure = registry.get("measure", name)
    try:
        made: Measure = measure(setting or None)
    except (ValueError, TypeError) as error:
        problem = (
            f"expected {error.expected} as its {error.argument}" if isinstance(error, ArgumentError) else str(error)
        )
        raise UsageError(Kind.INVALID, problem, flag="measure", value=spec) from error
    return made


def checked(specs: Iterable[str]) -> tuple[str, ...]:
    """Measures asked for, in one order and each once; a setting that is a measure's default is left out.

    Raises:
        UsageError: none, or one that is unknown or cannot be taken on this machine.
    """
    specs = list(specs)
    for spec in specs:
        if not isinstance(spec, str):  # as it may stand in a file
            raise UsageError(Kind.INVALID, flag="measure", expected="names of measures", value=spec)
    asked = sorted(set(specs))
    if asked == [ALL]:
        return (ALL,)
    if asked == [NONE]:
        return ()
    for alone in (ALL, NONE):
        if alone in asked:
            raise UsageError(Kind.CONFLICT, f"{alone} stands alone", flag="measure", value=", ".join(asked))
    if not asked:
        raise UsageError(Kind.INVALID, flag="measure", expected="at least one measure, or none", value=asked)
    for spec in asked:
        reason = make_measure(spec).missing()
        if reason is not None:
            raise UsageError(Kind.MISSING, reason, flag="measure", value=spec)
    return tuple(sorted({without_default(spec) for spec in asked}))


def without_default(spec: str) -> str:
    """The spec of a measure, without its setting where that is the default."""
    measure = make_measure(spec)
    return measure_name(spec) if measure.setting == measure.settings[0] else spec


def measures_of(cell: Cell, asked: tuple[str, ...] | None) -> tuple[str, ...]:
    """The measures that apply to a cell, of the ones asked for (`checked`), or of `BY_DEFAULT`."""
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


def is_current(spec: str, measurement: Measurement) -> bool:
    """Whether what is on record was taken by the measure as it is now: by its version, and by the source of a user's own."""
    return (measurement.version, measurement.code) == (make_measure(spec).version, source_of(spec))


def source_of(spec: str) -> str | None:
    """The digest of the source file of a user's own measure; None for what is built in."""
    return registry.source_digest("measure", measure_name(spec))
