"""From ``--measure`` to measures, and the measures of a cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field, FiniteFloat, StrictBool, StrictInt, StrictStr, TypeAdapter, ValidationError

from capsbench import registry
from capsbench.errors import ArgumentError, Kind, UsageError, reason_of
from capsbench.measures.base import Measure
from capsbench.measures.spec import MeasureSpec, built_in_specs
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.records.record import TRAINING, Measurement
from capsbench.registry import measure_name, split_spec

ALL = "all"
"""Every built-in measure that applies to a cell, beside those that are named."""

NONE = "none"
"""Asked for alone: no measure, training only."""

_SPEC = TypeAdapter(MeasureSpec)


def list_defaults() -> tuple[str, ...]:
    """Returns the measures that a run takes if the user names none, each in its first setting."""
    return tuple(sorted(name for name, spec in built_in_specs().items() if spec.by_default))


def make_measure(spec: str) -> Measure:
    """Returns the measure of ``accuracy``, ``speed:full``, ``my.module:Measure`` or ``my.module:Measure:setting``.

    Raises:
        UsageError: an unknown measure or setting, or a user's own measure whose declarations are invalid.
    """
    name, setting = split_spec(spec)
    component = registry.get("measure", name)
    _check_attributes(spec, component)
    try:
        measure: Measure = component(setting or None)
    except (ValueError, TypeError) as error:
        problem = (
            f"expected {error.expected} as its {error.argument}" if isinstance(error, ArgumentError) else str(error)
        )
        raise UsageError(Kind.INVALID, problem, flag="measure", value=spec) from error
    if not hasattr(measure, "setting"):
        problem = "its __init__ does not call super().__init__(setting)"
        raise UsageError(Kind.INVALID, problem, flag="measure", value=spec)
    declaration_of(spec)
    return measure


_ATTRIBUTES: Mapping[str, tuple[TypeAdapter[Any], str]] = {
    "settings": (TypeAdapter(Annotated[tuple[StrictStr, ...], Field(min_length=1)]), "a tuple of texts"),
    "version": (TypeAdapter(Annotated[StrictInt, Field(ge=0)]), "a whole number"),
    "cost": (TypeAdapter(dict[StrictStr, FiniteFloat]), "a dictionary from settings to numbers of images"),
    **dict.fromkeys(("alone", "any_number", "needs_weights"), (TypeAdapter(StrictBool), "True or False")),
}
"""Class attribute of a measure -> its type, and what it is."""


def _check_attributes(spec: str, component: Any) -> None:
    """Raises UsageError for a measure whose class attributes are of wrong types, which would be misread."""
    for name, (adapter, expected) in _ATTRIBUTES.items():
        try:
            adapter.validate_python(getattr(component, name))
        except ValidationError as error:
            problem = f"expected {expected} as its {name}"
            raise UsageError(Kind.INVALID, problem, flag="measure", value=spec) from error


def declaration_of(spec: str) -> MeasureSpec | None:
    """Returns the declarations of a user's own measure, for its record; None if it has none, and for a built-in measure.

    Raises:
        UsageError: they are of wrong types, or under the name of a built-in measure.
    """
    name = measure_name(spec)
    declared = None if name in built_in_specs() else registry.get("measure", name).spec
    # A path such as capsbench.measures.speed.measure:Speed names a built-in class.
    if declared is None or any(declared is known for known in built_in_specs().values()):
        return None
    try:
        declaration = _SPEC.validate_python(asdict(declared))
    except (ValidationError, TypeError) as error:
        fault = _describe_fault(error) if isinstance(error, ValidationError) else "expected a MeasureSpec"
        raise UsageError(Kind.INVALID, f"its spec is invalid: {fault}", flag="measure", value=spec) from error
    if declaration.name in (TRAINING, *built_in_specs()):
        problem = f"its spec has the name {declaration.name!r} of another measure"
        raise UsageError(Kind.INVALID, problem, flag="measure", value=spec)
    return declaration


def find_extended(spec: str) -> str:
    """Returns the name of the built-in measure whose ``spec`` a user's own subclass of it has; empty for all others."""
    if measure_name(spec) in built_in_specs():
        return ""
    declared = registry.get("measure", measure_name(spec)).spec
    return next((known.name for known in built_in_specs().values() if known is declared), "")


def _describe_fault(error: ValidationError) -> str:
    where = ".".join(map(str, error.errors()[0]["loc"]))
    return f"{where}: {reason_of(error)}"


def check_measures(specs: Iterable[str]) -> tuple[str, ...]:
    """Returns the measures asked for, sorted and each once, without settings that are a measure's default.

    Raises:
        UsageError: none, one that is unknown or cannot be taken on this machine, or two whose rows have one name.
    """
    specs = list(specs)
    for spec in specs:
        if not isinstance(spec, str):  # a file may hold any JSON
            raise UsageError(Kind.INVALID, flag="measure", expected="names of measures", value=spec)
    asked = sorted(set(specs))
    if asked == [NONE]:
        return ()
    if NONE in asked:
        raise UsageError(Kind.CONFLICT, f"{NONE} stands alone", flag="measure", value=", ".join(asked))
    if not asked:
        raise UsageError(Kind.INVALID, flag="measure", expected="at least one measure, or none", value=asked)
    named = [spec for spec in asked if spec != ALL]
    for spec in named:
        reason = make_measure(spec).missing()
        if reason is not None:
            raise UsageError(Kind.MISSING, reason, flag="measure", value=spec)
    _check_row_names(named)
    return tuple(sorted({ALL if spec == ALL else without_default(spec) for spec in asked}))


def row_name(spec: str) -> str | None:
    """Returns the name of all rows of a measure; None for a user's own without a spec, whose rows alone tell."""
    if (name := measure_name(spec)) in built_in_specs():
        return name
    declaration = declaration_of(spec)
    return declaration.name if declaration is not None else find_extended(spec) or None


def _check_row_names(specs: Iterable[str]) -> None:
    """Raises UsageError for two measures whose rows have one name."""
    owners: dict[str, str] = {}
    for spec in specs:
        if (name := row_name(spec)) is None:
            continue
        owner = owners.setdefault(name, spec)
        if measure_name(owner) != measure_name(spec):
            problem = f"both give numbers of the name {name!r}"
            raise UsageError(
                Kind.CONFLICT, problem, flag="measure", value=f"{owner}, {spec}", expected="ask for one of them"
            )


def without_default(spec: str) -> str:
    """Returns the spec of a measure, without its setting if that is the default."""
    measure = make_measure(spec)
    return measure_name(spec) if measure.setting == measure.settings[0] else spec


def measures_of(cell: Cell, asked: tuple[str, ...] | None) -> tuple[str, ...]:
    """Returns the measures that apply to a cell, of the ones asked for (`check_measures`), or of `list_defaults`.

    Those that the user did not name are left out where this machine cannot take them.
    """
    named = [spec for spec in asked or () if spec != ALL]
    measures = {spec: make_measure(spec) for spec in (*list_unnamed(asked), *named)}
    return tuple(
        sorted(
            spec
            for spec, measure in measures.items()
            if is_fit(measure, cell) and (spec in named or not measure.missing())
        )
    )


def list_unnamed(asked: tuple[str, ...] | None) -> tuple[str, ...]:
    """Returns the measures that are wanted without being named; each gives way to one that is named and has its numbers."""
    if asked is None:
        return list_defaults()
    if ALL not in asked:
        return ()
    given = {row_name(spec) for spec in asked if spec != ALL}
    return tuple(name for name in registry.names("measure") if name not in given)


def is_fit(measure: Measure, cell: Cell) -> bool:
    """Returns true if a measure can be taken of a cell: it applies, and is defined for the labels of the images."""
    return measure.applies_to(cell) and explain_labels(measure, cell) is None


def explain_labels(measure: Measure, cell: Cell) -> str | None:
    """Returns why a measure is not defined for the labels of a cell's images; None if it is."""
    from capsbench.data.images import ANY_NUMBER  # imports NumPy, which the command line does without

    if measure.any_number or cell.loss is None or dataset_of(cell).labels_an_image != ANY_NUMBER:
        return None
    return f"it needs images that show a known number of classes, and those of {cell.dataset} show any number"


def explain_unfit(cells: Sequence[Cell]) -> dict[str, str]:
    """Returns measure -> why it can be taken of none of some cells, of all those that this machine can take."""
    measures = {name: make_measure(name) for name in registry.names("measure")}
    return {
        name: explain_refused([name], cells).removeprefix(": ") or "for other networks or images"
        for name, measure in measures.items()
        if not measure.missing() and not any(is_fit(measure, cell) for cell in cells)
    }


def explain_refused(specs: Iterable[str], cells: Iterable[Cell]) -> str:
    """Returns why the first of some measures is not defined for the labels of a cell, after a colon; empty if all are."""
    measures = [make_measure(spec) for spec in specs if spec not in (ALL, NONE)]
    reasons = (explain_labels(measure, cell) for measure in measures for cell in cells)
    return next((f": {reason}" for reason in reasons if reason is not None), "")


def left_out(asked: tuple[str, ...] | None) -> dict[str, str]:
    """Returns measure -> why it cannot be taken on this machine, of those that a run takes by default, or of all."""
    reasons = {spec: make_measure(spec).missing() for spec in list_unnamed(asked)}
    return {spec: reason for spec, reason in reasons.items() if reason is not None}


def is_current(spec: str, measurement: Measurement) -> bool:
    """Returns true if the measurement was taken by the measure's version and, for a user's own measure, by its source of now."""
    return (measurement.version, measurement.code) == (make_measure(spec).version, source_of(spec))


def source_of(spec: str) -> str | None:
    """Returns the digest of the source of a user's own measure; None for a built-in one."""
    return registry.source_digest("measure", measure_name(spec))
