"""What the names of a point of the matrix stand for (its network, routing and loss), and which options these have.

A point is a mapping from fields of the Cell to what was asked of them; what is still open is None.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from capsbench import registry
from capsbench.errors import Kind, UsageError, reason_of
from capsbench.networks.base import CapsuleNetwork, is_self_supervised
from capsbench.records.cell import Cell, Scalar, Whole
from capsbench.sources import changed_parts


def parts_of(point: Mapping[str, Any]) -> tuple[str, str | None]:
    """(network, routing) of a point of the matrix."""
    network, routing = point["network"], point["routing"]
    if network is None:
        return registry.get("routing", routing).network, routing
    if is_baseline(network):
        return network, None
    return network, routing or registry.get("network", network).routing


def is_baseline(network: str, flag: str = "network") -> bool:
    """Whether a network's name is that of a CNN, or of another that has no routing, no iterations and no decoder.

    Args:
        flag: the flag that it was named by.
    """
    if network in registry.names("baseline"):
        return True
    if ":" in network or network in registry.names("network"):
        found = registry.get("network", network, flag)
        return not issubclass(found, CapsuleNetwork)
    known = [*registry.names("network"), *registry.names("baseline"), registry.YOUR_OWN]
    raise UsageError(Kind.UNKNOWN, flag="network", value=network, expected=known)


def options_of(kind: str, name: str) -> dict[str, Scalar | None]:
    """The options of a component: its arguments with a default, beside those that fields of the Cell decide."""
    decided = {"reconstruction", "iterations", "backend"}
    options: dict[str, Scalar | None] = {}
    for parameter in inspect.signature(registry.get(kind, name)).parameters.values():
        default = parameter.default
        if parameter.name in decided or not isinstance(default, bool | int | float | str):
            continue
        whole_but_meant_as_float = type(default) is int and parameter.annotation in (float, "float")
        options[parameter.name] = float(default) if whole_but_meant_as_float else default
    return options


def own_options(point: Mapping[str, Any]) -> dict[str, Scalar | None]:
    """The options that a point's network and routing have, as ``network.NAME`` and ``routing.NAME``, with defaults."""
    network, routing = parts_of(point)
    own = {f"network.{name}": value for name, value in options_of(registry.kind_of(network), network).items()}
    if routing is not None:
        own |= {f"routing.{name}": value for name, value in options_of("routing", routing).items()}
    loss = loss_of(point)
    if loss is not None:
        own |= {f"loss.{name}": value for name, value in options_of("loss", loss).items()}
    return own


def loss_of(point: Mapping[str, Any]) -> str | None:
    """The loss of a point: the one asked for, else its network's own; None for a network with an objective of its own."""
    network, _ = parts_of(point)
    component = registry.get(registry.kind_of(network), network)
    if is_self_supervised(component):
        return None
    own: str = getattr(component, "loss", "cross-entropy")
    return point.get("loss") or own


def chosen_options(
    point: Mapping[str, Any], asked: Mapping[str, list[Any]], used: set[str]
) -> Iterable[dict[str, Scalar]]:
    """The asked options that this point has, as the product of their values, each in the type of its default.

    A name that network, routing and loss share (``squash``) is one axis; ``network.squash`` is that of the network alone.
    """
    own = {name: default for name, default in own_options(point).items() if default is not None}
    meant = {name: [each for each in own if name in (each, each.partition(".")[2])] for name in asked}
    meant = {name: options for name, options in meant.items() if options}
    used.update(meant)
    for values in product({name: asked[name] for name in meant}):
        # The full name comes last, and so has the last word.
        names = sorted(values, key=lambda name: "." in name)
        chosen = {each: _option(name, each, own[each], values[name]) for name in names for each in meant[name]}
        for each in chosen:
            _check_sign(point, each, chosen[each])
        yield chosen


def _check_sign(point: Mapping[str, Any], option: str, value: Scalar) -> None:
    """Refuses negative numbers where our own components have them: there all are sizes, shares, deviations or rates."""
    network, routing = parts_of(point)
    component = {
        "network": (registry.kind_of(network), network),
        "routing": ("routing", routing),
        "loss": ("loss", loss_of(point)),
    }
    kind, name = component[option.partition(".")[0]]
    if name in registry.BUILT_IN[kind] and isinstance(value, int | float) and value < 0:
        raise UsageError(Kind.INVALID, flag=option.partition(".")[2], expected="0 or more", value=value)


def _option(name: str, own: str, default: Scalar, value: Any) -> Scalar:
    """A value of the option ``own``, asked for as ``name``, in the type of its default.

    Whole numbers of a network are widths, counts and sides: 1 or more, or 0 where that is the default and says so.
    """
    try:
        kind: Any = Whole if type(default) is int else type(default)
        parsed: Scalar = TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise UsageError(Kind.INVALID, reason_of(error), flag=name, value=value) from error
    if own.startswith("network.") and type(default) is int and int(parsed) < min(1, default):
        raise UsageError(Kind.INVALID, flag=name, expected=f"{min(1, default)} or more", value=value)
    if isinstance(parsed, float) and not math.isfinite(parsed):
        raise UsageError(Kind.INVALID, flag=name, expected="a finite number", value=value)
    return parsed


def source_digests(decided: Mapping[str, Any]) -> dict[str, str]:
    """Digests of the sources of a user's own parts among those that a cell is trained with, by kind."""
    digests = {kind: registry.source_digest(*named) for kind, named in _components(decided).items()}
    return {kind: digest for kind, digest in digests.items() if digest}


def source_parts(decided: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What `source_digests` are made of: kind -> module -> digest."""
    parts = {kind: registry.source_parts(*named) for kind, named in _components(decided).items()}
    return {kind: digests for kind, digests in parts.items() if digests}


def edits(cell: Cell, sources: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """The own parts of a cell that have another source now: ``routing my:Mine`` -> the modules that were edited.

    Args:
        sources: `source_parts` as they were; where they are not known, no module is named.
    """
    named, now, parts = (
        _components(cell.model_dump()),
        source_digests(cell.model_dump()),
        source_parts(cell.model_dump()),
    )
    return {
        " ".join(named[kind]): changed_parts(sources[kind], parts.get(kind, {})) if kind in sources else []
        for kind in named
        if cell.code.get(kind) != now.get(kind)
    }


UNDO = "undo the edit, or train it anew"
"""What to do about a network whose own parts have another source now."""


def about_edits(edited: Mapping[str, Sequence[str]]) -> str:
    """`edits` in a phrase: ``edited since it was trained: routing my:Mine (in helper)``."""
    named = (f"{part} (in {', '.join(modules)})" if modules else part for part, modules in edited.items())
    return f"edited since it was trained: {', '.join(named)}"


def _components(decided: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Kind of a part -> the kind that it is registered as, and its name, of the parts that a cell is trained with."""
    network = decided["network"]
    named = {
        "dataset": ("dataset", decided["dataset"]),
        "network": (registry.kind_of(network), network),
        "routing": ("routing", decided["routing"]),
        "loss": ("loss", decided["loss"]),
    }
    return {kind: component for kind, component in named.items() if component[1]}


def product(axes: Mapping[str, list[Any]]) -> Iterable[dict[str, Any]]:
    """The points of a matrix of axes."""
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))
