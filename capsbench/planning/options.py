"""The options of a cell's parts: the arguments of their classes that no field of the Cell sets."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from capsbench import registry
from capsbench.errors import Kind, UsageError, reason_of
from capsbench.networks.build import FIELD_ARGUMENTS
from capsbench.records.cell import Scalar, Whole, asked_fields, short_name
from capsbench.records.parts import Part, Parts


@cache
def read_options(component: Any) -> Mapping[str, Scalar]:
    """Returns the options of a component: its arguments with a default, but for those that fields of the Cell set."""
    options: dict[str, Scalar] = {}
    for parameter in inspect.signature(component).parameters.values():
        default = parameter.default
        if parameter.name in FIELD_ARGUMENTS or not isinstance(default, bool | int | float | str):
            continue
        whole_but_meant_as_float = type(default) is int and parameter.annotation in (float, "float")
        options[parameter.name] = float(default) if whole_but_meant_as_float else default
    return options


def list_options(parts: Parts) -> dict[str, Scalar]:
    """Returns all options of data set, network, routing and loss with their defaults, as ``network.NAME`` and so on.

    Raises:
        UsageError: an option of a user's own part has the name of a flag, which would never set it.
    """
    for part in parts:
        if not registry.find_shipped(part.kind, part.name):
            _check_option_names(part)
    return {
        f"{field}.{name}": default
        for field, part in parts.by_field.items()
        for name, default in read_options(part.component).items()
    }


def _check_option_names(part: Part) -> None:
    """Raises UsageError for an option of the name of a flag, unless a built-in class has it, too."""
    bases = [base for base in getattr(part.component, "__mro__", ())[1:] if base.__module__.startswith("capsbench.")]
    inherited = {name for base in bases for name in inspect.signature(base).parameters}
    for name in read_options(part.component).keys() & _flags() - inherited:
        problem = f"an argument of its __init__ has the name of a flag, {{flag:{name}}}"
        raise UsageError(Kind.CONFLICT, problem, flag=part.flag, value=part.name, expected="give it another name")


@cache
def _flags() -> frozenset[str]:
    """Returns the names of the fields of the Cell that a user sets, and of their flags."""
    fields = asked_fields()
    return frozenset({*fields, *fields.values()})


def choose_options(parts: Parts, asked: Mapping[str, list[Any]], used: set[str]) -> Iterator[dict[str, Scalar]]:
    """Yields the options asked for that these parts have, one combination of their values after another.

    A name that several of them share (``squash``) is one axis; ``network.squash`` is that of the network alone.

    Args:
        used: the names that were asked for and found are added to it.
    """
    defaults = list_options(parts)
    meant = {name: [option for option in defaults if name in (option, short_name(option))] for name in asked}
    meant = {name: options for name, options in meant.items() if options}
    used.update(meant)
    names = sorted(meant, key=lambda name: "." in name)  # a full name has the last word
    for values in multiply_axes({name: asked[name] for name in meant}):
        chosen = {
            option: parse_option(parts, name, option, defaults[option], values[name])
            for name in names
            for option in meant[name]
        }
        yield chosen


def parse_option(parts: Parts, name: str, option: str, default: Scalar, value: Any) -> Scalar:
    """Returns a value of an option of these parts, in the type of its default; raises UsageError.

    Args:
        name: what the user calls the option.
    """
    part = parts.of(option)
    parsed = _convert_value(part.component, name, option, default, value)
    # A built-in component's numbers are sizes, shares, deviations or rates.
    if registry.find_shipped(part.kind, part.name) and isinstance(parsed, int | float) and parsed < 0:
        raise UsageError(Kind.INVALID, flag=short_name(option), expected="0 or more", value=parsed)
    return parsed


def _convert_value(component: Any, name: str, option: str, default: Scalar, value: Any) -> Scalar:
    """Returns a value that was asked for as ``name`` in the type of the option's default.

    Whole numbers of a network are widths, counts and sides: 1 or more, or 0 where that is the default and says so. A component
    may declare ``spellings``, functions that return the one spelling of an option's value.
    """
    if value == "" != default:  # a flag that ends the line, which a text would take for a value
        raise UsageError(Kind.INVALID, flag=name, expected="a value", value=value)
    try:
        kind: Any = Whole if type(default) is int else type(default)
        if kind is str and type(value) is int:  # ``resize=32`` in Python
            value = str(value)
        parsed: Scalar = TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise UsageError(Kind.INVALID, reason_of(error), flag=name, value=value) from error
    if option.startswith("network.") and type(default) is int and int(parsed) < min(1, default):
        raise UsageError(Kind.INVALID, flag=name, expected=f"{min(1, default)} or more", value=value)
    if isinstance(parsed, float) and not math.isfinite(parsed):
        raise UsageError(Kind.INVALID, flag=name, expected="a finite number", value=value)
    spellings: Mapping[str, Callable[[Any], Scalar]] = getattr(component, "spellings", {})
    spell = spellings.get(short_name(option))
    return parsed if spell is None else spell(parsed)


def multiply_axes(axes: Mapping[str, list[Any]]) -> Iterable[dict[str, Any]]:
    """Yields the points of a matrix with these axes."""
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def refuse_option(name: str, known: Iterable[str]) -> NoReturn:
    """Raises UsageError for an option that no part of a request has; it names the components that have it.

    Args:
        name: the option as the user named it.
        known: the names that the request may have.
    """
    if not (owners := _find_owners(name.rpartition(".")[2])):
        raise UsageError(Kind.UNKNOWN, flag=name, value=name, expected=sorted(known))
    listed = " and of ".join(f"{kind} {', '.join(components)}" for kind, components in owners.items())
    raise UsageError(Kind.CONFLICT, f"not an option of what is asked for, but of {listed}", flag=name)


def _find_owners(option: str) -> dict[str, list[str]]:
    """Returns kind -> the components that have an option, as a user names them."""
    owners: dict[str, list[str]] = {}
    for kind in ("dataset", "network", "baseline", "routing", "loss"):
        for name in (*registry.names(kind), *registry.name_schemes(kind)):
            with suppress(UsageError):  # a name that a package of the user adds, and that cannot be imported
                if option in read_options(registry.get(kind, name)):
                    owners.setdefault("data set" if kind == "dataset" else kind, []).append(name)
    return owners


def parse_dataset_options(name: str, asked: Mapping[str, Any]) -> dict[str, Scalar]:
    """Returns some options of a data set in their types; raises UsageError for one that it does not have."""
    component = registry.get("dataset", name)
    defaults = read_options(component)
    for option in asked:
        if option not in defaults:
            refuse_option(option, defaults)
    return {
        option: _convert_value(component, option, f"dataset.{option}", defaults[option], value)
        for option, value in asked.items()
    }
