"""Resolves a point of the matrix into a Cell: parts, defaults, refusals, options.

A point is a mapping from fields of the Cell to the values asked for; ``dataset``, ``size``, ``seed``, ``network`` and ``routing``
must be in it, or be None.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from pydantic import ValidationError

from capsbench.data.images import ImageShape
from capsbench.errors import FOREIGN, Kind, UsageError, message_of, reason_of
from capsbench.networks.backbones import NONE as NO_BACKBONE
from capsbench.networks.backbones import find_seen
from capsbench.networks.build import parameter_count
from capsbench.planning.defaults import FIELD_DEFAULTS, PAPER_LEARNING_RATE, usable_cores
from capsbench.planning.options import list_options
from capsbench.planning.parts import fit_loss
from capsbench.planning.refusals import REFUSALS
from capsbench.planning.request import BASELINE_FLAG
from capsbench.records.cell import TARGET, Cell, Scalar, select_options, short_name
from capsbench.records.parts import Parts
from capsbench.routing import Routing
from capsbench.sources import find_own_line, libraries
from capsbench.sources.weights import NONE


def resolve_cell(point: Mapping[str, Any], parts: Parts, options: Mapping[str, Scalar]) -> Cell:
    """Returns the Cell of a point; its network can be built.

    Args:
        parts: those of the point (`capsbench.planning.parts.choose_parts`).
        options: the options asked for, by their full names.

    Raises:
        UsageError: a value does not fit the others, or the network cannot be built.
    """
    cell = complete_cell(point, parts, options)
    if TARGET not in cell.options and cell.network == "matched":
        remedy = f"use {{flag:{BASELINE_FLAG}}} matched beside one"
        problem = "it is sized after a capsule network"
        raise UsageError(Kind.CONFLICT, problem, flag="network", value="matched", expected=remedy)
    try:
        parameter_count(cell)
    except FOREIGN as error:
        # Options that do not fit, or that make a network larger than torch counts. Any other error is a defect of capsbench,
        # unless the cell has a user's own parts.
        if not isinstance(error, (ValueError, RuntimeError, OverflowError)) and not cell.code:
            raise
        raise _explain_unbuildable(cell, options, error) from error
    return cell


def complete_cell(point: Mapping[str, Any], parts: Parts, options: Mapping[str, Scalar]) -> Cell:
    """Returns the Cell of a point as `resolve_cell` does, without building its network."""
    defaults = list_options(parts)
    # Its options decide what a data set declares, such as the shape of its images.
    parts = replace(parts, dataset_options=select_options({**defaults, **options}, "dataset"))
    fitted = fit_loss(parts, point)
    if fitted.loss != parts.loss:
        parts, defaults = fitted, list_options(fitted)
        _refuse_options_of_loss(parts, options, defaults)
    backbone = point.get("backbone") or NO_BACKBONE
    size_options = _find_size_options(parts, point["size"], backbone)
    fields = _complete_fields(point, parts)
    for refuse in REFUSALS:
        refuse(parts, fields)
    presets = _find_presets(parts, point["size"])
    _refuse_unknown_presets(parts, presets, defaults)
    presets = {name: value for name, value in presets.items() if name in defaults}
    fields["options"] = _drop_later_options(parts, defaults, {**defaults, **size_options, **presets, **options})
    fields["code"] = parts.digest_sources()
    if backbone != NO_BACKBONE:
        fields["code"]["backbone"] = libraries.describe_version(backbone)
    try:
        return Cell.model_validate(fields)
    except ValidationError as error:
        if (explained := _explain_invalid(parts, point, error)) is None:
            raise
        raise explained from error


def _explain_invalid(parts: Parts, point: Mapping[str, Any], error: ValidationError) -> UsageError | None:
    """Returns which part declares a field that no cell can have; None if none does."""
    field = str(error.errors()[0]["loc"][0])
    if point.get(field) is not None:
        return None
    if field in _find_recipe(parts, point["size"]):
        part, declared = parts.network, f"recipe({point['size']!r})"
    elif field in ("epochs", "shift"):
        part, declared = parts.dataset, field
    else:
        return None
    reason = reason_of(error) if field in Cell.model_fields else "no field of a cell"
    problem = f"{part.name}: its {declared} is invalid: {field}: {reason}"
    return UsageError(Kind.INVALID, problem, flag=part.flag, value=error.errors()[0]["input"])


def _refuse_options_of_loss(parts: Parts, options: Mapping[str, Scalar], known: Mapping[str, Scalar]) -> None:
    """Refuses options of a loss that another one has replaced."""
    for name in options:
        if name.startswith("loss.") and name not in known:
            problem = (
                f"no option of the loss {parts.loss and parts.loss.name}, which images of any number of classes need"
            )
            raise UsageError(Kind.CONFLICT, problem, flag=short_name(name), value=options[name])


def _find_size_options(parts: Parts, size: str, backbone: str) -> dict[str, Scalar]:
    """Returns the options of the network at a size, by their full names; raises UsageError if there is no such size."""
    dataset, network = parts.data, parts.network.component
    has_image = isinstance(getattr(dataset, "image", None), ImageShape)
    if not has_image or not isinstance(getattr(dataset, "classes", None), int):
        expected = "a class with image = ImageShape(...) and classes = a number"
        raise UsageError(Kind.INVALID, flag="dataset", expected=expected, value=parts.dataset.name)
    if not hasattr(network, "sizes"):
        expected = "a class with sizes(image), the options that make it tiny, small and paper"
        raise UsageError(Kind.INVALID, flag="network", expected=expected, value=parts.network.name)
    image = find_seen(backbone, dataset.image)
    sizes = parts.network.read("sizes(image)", lambda component: component.sizes(image))
    if size not in sizes:
        problem = f"not a size of {parts.network.name}"
        raise UsageError(Kind.UNKNOWN, problem, flag="size", value=size, expected=[*sizes])
    options = parts.network.read(f"sizes(image)[{size!r}]", lambda _: sizes[size])
    return {f"network.{name}": value for name, value in options.items()}


def _drop_later_options(
    parts: Parts, defaults: Mapping[str, Scalar], options: Mapping[str, Scalar]
) -> dict[str, Scalar]:
    """Returns options without those at their defaults that their components have only since networks were on record."""
    later = {
        f"{field}.{name}"
        for field, part in parts.by_field.items()
        for name in getattr(part.component, "later_options", ())
    }
    return {name: value for name, value in options.items() if name not in later or value != defaults[name]}


def _find_presets(parts: Parts, size: str) -> dict[str, Scalar]:
    """Returns the options that the routing presets at a size, by their full names; those of other networks are among them."""
    if parts.routing is None:
        return {}
    presets = parts.routing.read(f"presets[{size!r}]", lambda component: component.presets.get(size, {}))
    return {name if "." in name else f"routing.{name}": value for name, value in presets.items()}


def _refuse_unknown_presets(parts: Parts, presets: Mapping[str, Scalar], known: Mapping[str, Scalar]) -> None:
    """Refuses presets of options that the routing does not have; those of networks that have them are left to these.

    Inherited presets may be of options that only the base class has.
    """
    if parts.routing is None or "presets" not in vars(parts.routing.component):
        return
    for name in presets:
        if name.startswith("routing.") and name not in known:
            options = [short_name(option) for option in known if option.startswith("routing.")]
            problem = f"{parts.routing.name}: no option of its presets; expected one of {', '.join(options) or 'none'}"
            raise UsageError(Kind.INVALID, problem, flag="routing", value=short_name(name))


def _complete_fields(point: Mapping[str, Any], parts: Parts) -> dict[str, Any]:
    """Returns all fields but options and code: those asked for over those of the network, the data set and `FIELD_DEFAULTS`."""
    dataset, size = parts.data, point["size"]
    fields = {
        **FIELD_DEFAULTS,
        "epochs": dataset.epochs,
        "shift": dataset.shift,
        "threads": usable_cores() if size == "paper" else 1,
        "loss": parts.loss and parts.loss.name,
        "reconstruction": _has_decoder(parts),
        **_find_recipe(parts, size),
        **{name: value for name, value in point.items() if value is not None},
        "network": parts.network.name,
        "routing": parts.routing and parts.routing.name,
        "iterations": _choose_iterations(parts, point.get("iterations")),
    }
    if fields.get("weights", NONE) != NONE:
        fields["epochs"] = 0  # those asked for are of the baselines
    if fields["device"] == "auto":
        fields["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    fields["device"] = fields["device"].partition(":")[0]  # which GPU it is makes no other cell
    return fields


def _has_decoder(parts: Parts) -> bool:
    """Returns true if the network has a decoder by default, and the data set has pixels that a decoder can make."""
    if not parts.has_routing or parts.data.standardised:
        return False
    return bool(_default_of(parts.network.component, "reconstruction", otherwise=False))


def _find_recipe(parts: Parts, size: str) -> dict[str, Any]:
    """Returns the training fields whose defaults the network sets at a size."""
    if parts.has_routing or parts.is_self_supervised:
        return dict(parts.network.read(f"recipe({size!r})", lambda component: component.recipe(size)))
    return {"learning_rate": PAPER_LEARNING_RATE} if size == "paper" else {}


def _choose_iterations(parts: Parts, asked: int | None) -> int | None:
    """Returns the iterations asked for or the routing's own; 1 without iterations to choose, None without routing."""
    if parts.routing is None:
        return None
    routing = parts.routing.component
    if not routing.iterative:
        return 1
    default = _default_of(Routing, "iterations", otherwise=1)
    return asked or int(_default_of(routing, "iterations", otherwise=default))


def _default_of(component: Any, argument: str, otherwise: Any) -> Any:
    """Returns the default of a component's argument."""
    parameter = inspect.signature(component).parameters.get(argument)
    return otherwise if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def _explain_unbuildable(cell: Cell, options: Mapping[str, Scalar], error: BaseException) -> UsageError:
    """Returns what to change so that a cell's network can be built: the option at fault, if the error names one.

    Args:
        options: those asked for.
    """
    argument, value = getattr(error, "argument", None), getattr(error, "value", None)
    if argument in {short_name(option) for option in cell.options}:
        expected = str(getattr(error, "expected", "")) or message_of(error)
        problem = f"{cell.network} at size {cell.size} on {cell.dataset}: expected {expected}"
        return UsageError(Kind.INVALID, problem, flag=argument, value=value, expected=expected)
    asked = {
        short_name(name): value for name, value in options.items() if name.startswith("network.") and name != TARGET
    }
    settings = " ".join(f"{{flag:{name}}} {value}" for name, value in {"size": cell.size, **asked}.items())
    place = find_own_line(error)
    fault = message_of(error) + (f" ({place})" if place else "")
    problem = f"cannot be built with {settings} on {cell.dataset}: {fault}"
    return UsageError(Kind.CONFLICT, problem, flag="network", value=cell.network)
