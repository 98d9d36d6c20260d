"""Matrix: what a user asked for -> the cells to run.

A request is a mapping from names to values or lists of values, the same names on the command line, in a suite and in
Python: ``{"routing": ["em"], "iters": [1, 2, 3], "seeds": [0, 1, 2]}``. Lists are axes; the cells are their product, with
everything left open decided here and written into the Cell.
"""

from __future__ import annotations

import inspect
import itertools
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from capsbench import registry
from capsbench.cell import Cell, Scalar, asked_fields, choices, spelled
from capsbench.data.base import Dataset
from capsbench.errors import UsageError
from capsbench.measures.build import ALL, checked, make_measure, measure_name, measures_of
from capsbench.models.base import CapsuleNetwork, is_self_supervised
from capsbench.models.build import build_network, parameter_count
from capsbench.recipe import AXES, PAPER_LEARNING_RATE, RECIPE
from capsbench.routing import Routing
from capsbench.shapes import ImageShape
from capsbench_kernels import BACKENDS, choose_backend

BASELINE_FLAG = "baseline"
BASELINE_SIZE_FLAG = "baseline_size"
BASELINE_SIZES = ("own", "matched")
"""The widths of a baseline: its own, or such as make as many parameters as the capsule network has that it stands beside."""


def cells_of(*requests: Mapping[str, Any]) -> list[Cell]:
    """The cells of one request or several, baselines included, each once, in an order that finishes seeds of one row together.

    Args:
        requests: names as in `asked_fields` (``routing``, ``iters``, ``train_size``, ...), ``baseline``, ``baseline_size`` and
            options of networks and routings; each a value, a list of values, or a string with commas. ``all`` stands for every
            routing, network or baseline that there is.

    Raises:
        UsageError: an unknown name, such as an option that none of the requests can use, or a value that does not fit.
    """
    cells: dict[str, Cell] = {}
    points: list[dict[str, Any]] = []
    routed = False
    asked: set[str] = set()
    used: set[str] = set()
    to_measure: set[str] = set()
    for request in requests:
        fields, options, baselines = _sorted(request)
        asked |= set(options)
        for point in _product(_with_components({**AXES, **fields})):
            points.append(point)
            measures = point.get("measures")
            to_measure |= {*(measures or ())} - {ALL}
            for chosen in _options_of(point, options, used):
                cell = _resolve(point, chosen)
                if not cell.measures and "all" in listed(request.get("network")):
                    continue  # every network means each that can be measured so
                if not cell.measures:
                    raise _not_measurable(measures or (), cell)
                cells.setdefault(cell.id, cell)
                routed = routed or cell.routing is not None
                if cell.routing is not None:
                    for name, size in baselines:
                        beside = _baseline_beside(cell, name, size, fields, measures)
                        if beside.measures:
                            cells.setdefault(beside.id, beside)
    never = to_measure.difference(*(cell.measures for cell in cells.values()))
    if never:
        raise _not_measurable(sorted(never), next(iter(cells.values())))
    for name in ("routing", "iters", BASELINE_FLAG):
        if not routed and any(request.get(name) not in (None, "none", ["none"]) for request in requests):
            raise UsageError(f"{spelled(name)}: none of the networks asked for has capsules that are routed")
    for name in sorted(asked - used):
        known = {*asked_fields(), *(option.partition(".")[2] for point in points for option in _own(point))}
        raise UsageError(f"{spelled(name)}: {registry.unknown(spelled(name), sorted(map(spelled, known)))}")
    return sorted(cells.values(), key=lambda cell: cell.routing is None)


def _sorted(request: Mapping[str, Any]) -> tuple[dict[str, list[Any]], dict[str, list[Any]], list[tuple[str, str]]]:
    """What a request says of fields, of options and of baselines with their sizes."""
    fields: dict[str, list[Any]] = {}
    options: dict[str, list[Any]] = {}
    baselines: list[str] = ["matched"]
    sizes = ["own"]
    for name, value in request.items():
        key = name.replace("-", "_")
        field = asked_fields().get(key, key if key in Cell.model_fields and key not in ("options", "code") else None)
        if key == BASELINE_FLAG:
            baselines = [str(item) for item in _every(key, listed(value))]
        elif key == BASELINE_SIZE_FLAG:
            sizes = _baseline_sizes(value)
        elif field is not None:
            fields[field] = _parse(field, key, value)
        else:
            options[key] = listed(value)
    return fields, options, [] if "none" in baselines else list(itertools.product(baselines, sizes))


def _baseline_sizes(value: Any) -> list[str]:
    sizes = [str(item) for item in listed(value)]
    for size in sizes or [""]:
        if size not in BASELINE_SIZES:
            raise UsageError(f"{spelled(BASELINE_SIZE_FLAG)}: {registry.unknown(size, list(BASELINE_SIZES))}")
    return sizes


def _every(kind: str, items: list[Any]) -> list[Any]:
    """The items, or all the names of a kind where ``all`` is asked for."""
    return registry.names(kind) if items == ["all"] else items


def listed(value: Any) -> list[Any]:
    """The values of a name in a request: a list as it is, a string by its commas, anything else alone."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",")]
    return list(value) if isinstance(value, Iterable) else [value]


def _parse(field: str, name: str, value: Any) -> list[Any]:
    """The values of one axis, each of the field's type; raises UsageError naming the flag and the value that is not."""
    info = Cell.model_fields[field]
    adapter: TypeAdapter[Any] = TypeAdapter(info.rebuild_annotation())
    items = [checked(listed(value))] if field == "measures" else listed(value)
    if field in ("routing", "network"):
        items = _every(field, items)
    if not items:
        raise UsageError(f"{spelled(name)}: expected at least one value, got none")
    parsed = []
    for item in items:
        wanted: Any = item
        if wanted in ("none", "all") and field == "train_size":
            wanted = None
        if field == "device":
            _check_device(name, str(wanted))
        if field == "backend" and wanted not in ("auto", *BACKENDS):
            raise UsageError(f"{spelled(name)}: expected auto, {', '.join(BACKENDS)}, got {wanted!r}")
        try:
            parsed.append(adapter.validate_python(wanted))
        except ValidationError as error:
            known = choices(field)
            reason = registry.unknown(str(item), known) if known else f"{_reason(error)}, got {item!r}"
            raise UsageError(f"{spelled(name)}: {reason}") from error
    return parsed


def _not_measurable(specs: Iterable[str], cell: Cell) -> UsageError:
    others = [name for name in registry.names("measure") if make_measure(name).applies_to(cell)]
    of = f"{cell.network} on {cell.dataset}"
    return UsageError(f"--measure {', '.join(specs)}: cannot be taken of {of}; choose from {', '.join(others)}")


def _reason(error: ValidationError) -> str:
    message = error.errors()[0]["msg"]
    return message[0].lower() + message[1:]


def _check_device(name: str, device: str) -> None:
    if device == "auto":
        return
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise UsageError(f"{spelled(name)}: expected cpu, cuda, cuda:N or auto, got {device!r}") from None
    if kind not in ("cpu", "cuda"):
        raise UsageError(f"{spelled(name)}: expected cpu, cuda, cuda:N or auto, got {device!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"{spelled(name)}: {device!r} asked for, but torch sees no CUDA device here; use cpu or auto")


def _with_components(fields: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Routing and network decide each other where only one is named; with neither, the two papers' own pairs."""
    if not fields.get("routing") and not fields.get("network"):
        fields["routing"] = ["dynamic", "em"]
    fields.setdefault("routing", [None])
    fields.setdefault("network", [None])
    return fields


def _product(axes: Mapping[str, list[Any]]) -> Iterable[dict[str, Any]]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _pair(point: Mapping[str, Any]) -> tuple[str, str | None]:
    """(network, routing) of a point of the matrix."""
    network, routing = point["network"], point["routing"]
    if routing is not None:
        _subclass_of(Routing, "routing", routing)
    if network is None:
        return registry.get("routing", routing).network, routing
    if is_baseline(network):
        return network, None
    return network, routing or registry.get("network", network).routing


def is_baseline(network: str) -> bool:
    """Whether a network's name is that of a CNN, or of another that has no routing, no iterations and no decoder."""
    if network in registry.names("baseline"):
        return True
    if ":" in network or network in registry.names("network"):
        found = registry.get("network", network)
        return not (isinstance(found, type) and issubclass(found, CapsuleNetwork))
    known = registry.names("network") + registry.names("baseline")
    raise UsageError(f"--network: {registry.unknown(network, known)}, or package.module:Attribute for your own")


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


def _own(point: Mapping[str, Any]) -> dict[str, Scalar | None]:
    """The options that a point's network and routing have, as ``network.NAME`` and ``routing.NAME``, with defaults."""
    network, routing = _pair(point)
    own = {f"network.{name}": value for name, value in options_of(_kind(network), network).items()}
    if routing is not None:
        own |= {f"routing.{name}": value for name, value in options_of("routing", routing).items()}
    loss = _loss(point)
    if loss is not None:
        own |= {f"loss.{name}": value for name, value in options_of("loss", loss).items()}
    return own


def _loss(point: Mapping[str, Any]) -> str | None:
    """The loss of a point: the one asked for, else its network's own; None for a network with an objective of its own."""
    network, _ = _pair(point)
    component = registry.get(_kind(network), network)
    if is_self_supervised(component):
        return None
    own: str = getattr(component, "loss", "cross-entropy")
    return point.get("loss") or own


def _kind(network: str) -> str:
    return "baseline" if network in registry.names("baseline") else "network"


def _options_of(
    point: Mapping[str, Any], asked: Mapping[str, list[Any]], used: set[str]
) -> Iterable[dict[str, Scalar]]:
    """The asked options that this point has, as the product of their values, each in the type of its default.

    A name that network, routing and loss share (``squash``) is one axis; ``network.squash`` is that of the network alone.
    """
    own = {name: default for name, default in _own(point).items() if default is not None}
    meant = {name: [each for each in own if name in (each, each.partition(".")[2])] for name in asked}
    meant = {name: options for name, options in meant.items() if options}
    used.update(meant)
    for values in _product({name: asked[name] for name in meant}):
        # The full name comes last, and so has the last word.
        names = sorted(values, key=lambda name: "." in name)
        chosen = {each: _option(name, each, own[each], values[name]) for name in names for each in meant[name]}
        for each in chosen:
            _check_sign(point, each, chosen[each])
        yield chosen


def _check_sign(point: Mapping[str, Any], option: str, value: Scalar) -> None:
    """Refuses negative numbers where our own components have them: there all are sizes, shares, deviations or rates."""
    network, routing = _pair(point)
    component = {"network": (_kind(network), network), "routing": ("routing", routing), "loss": ("loss", _loss(point))}
    kind, name = component[option.partition(".")[0]]
    if name in registry.BUILT_IN[kind] and isinstance(value, int | float) and value < 0:
        raise UsageError(f"{spelled(option.partition('.')[2])}: expected 0 or more, got {value}")


def _option(name: str, own: str, default: Scalar, value: Any) -> Scalar:
    """A value of the option ``own``, asked for as ``name``, in the type of its default.

    Whole numbers of a network are widths, counts and sides: 1 or more, or 0 where that is the default and says so.
    """
    try:
        parsed: Scalar = TypeAdapter(type(default)).validate_python(value)
    except ValidationError as error:
        raise UsageError(f"{spelled(name)}: {_reason(error)}, got {value!r}") from error
    if own.startswith("network.") and type(default) is int and int(parsed) < min(1, default):
        raise UsageError(f"{spelled(name)}: expected {min(1, default)} or more, got {value!r}")
    if isinstance(parsed, float) and not math.isfinite(parsed):
        raise UsageError(f"{spelled(name)}: expected a finite number, got {value!r}")
    return parsed


def _resolve(point: Mapping[str, Any], chosen: Mapping[str, Scalar]) -> Cell:
    """The Cell of one point: everything that is still open is taken from the data set, the network and `RECIPE`."""
    network, routing = _pair(point)
    dataset = _subclass_of(Dataset, "dataset", point["dataset"])
    if not isinstance(getattr(dataset, "image", None), ImageShape) or not isinstance(
        getattr(dataset, "classes", None), int
    ):
        raise UsageError(
            f"--dataset {point['dataset']}: needs image = ImageShape(...) and classes = a number, on the class"
        )
    component = registry.get(_kind(network), network)
    if not hasattr(component, "sizes"):
        raise UsageError(f"--network {network}: has no sizes(image), the options that make it tiny, small and paper")
    sizes = component.sizes(dataset.image)
    if point["size"] not in sizes:
        raise UsageError(f"--size: {registry.unknown(point['size'], list(sizes))} for the network {network}")

    capsules, self_supervised = routing is not None, is_self_supervised(component)
    decided = {
        **RECIPE,
        "epochs": dataset.epochs,
        "shift": dataset.shift,
        "threads": usable_cores() if point["size"] == "paper" else 1,
        "loss": _loss(point),
        "reconstruction": capsules
        and not dataset.standardised
        and _default(component, "reconstruction", otherwise=False),
        **(component.recipe(point["size"]) if capsules or self_supervised else _baseline_recipe(point["size"])),
        **{name: value for name, value in point.items() if value is not None},
        "network": network,
        "routing": routing,
    }
    side = min(dataset.image.height, dataset.image.width)
    if decided["shift"] >= side:
        raise UsageError(
            f"--shift: expected less than {side}, the side of the images of {point['dataset']}, got {decided['shift']}"
        )
    if self_supervised and decided.get("stop_at"):
        raise UsageError(f"--stop-at: {network} is not about classes, so it has no accuracy to stop at; leave it out")
    if self_supervised and decided["loss"]:
        raise UsageError(f"--loss: {network} has none, it is trained on an objective of its own; leave it out")
    if not self_supervised:
        registry.get("loss", decided["loss"])
    decided["iterations"] = _iterations(routing, point.get("iterations"))
    if decided["reconstruction"] and dataset.standardised:
        raise UsageError(
            f"--reconstruction: the decoder makes pixels from 0 to 1, those of {point['dataset']} are standardised; use no"
        )
    if not capsules and decided["reconstruction"]:
        raise UsageError(
            f"--reconstruction: {'' if self_supervised else 'the CNN '}{network} has no decoder; "
            "beside a capsule network, use --baseline"
        )
    if not capsules and decided["loss"] in ("margin", "spread"):
        raise UsageError(
            f"--loss: {decided['loss']} needs activations in [0, 1]; the CNN {network} has logits: cross-entropy"
        )
    if decided["device"] == "auto":
        decided["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    if decided.get("compile") == "cuda-graphs" and decided["device"] == "cpu":
        raise UsageError("--compile: cuda-graphs needs a CUDA device; on a CPU there are none and default")
    if capsules and decided["backend"] != "auto":  # what auto chooses exists everywhere, and is on the record
        try:
            choose_backend(decided["backend"], decided["device"])
        except ValueError as error:
            raise UsageError(f"--backend: {str(error).removeprefix('backend: ')}") from None
    own = {name: value for name, value in _own(point).items() if value is not None}
    preset = {f"network.{name}": value for name, value in sizes[point["size"]].items()}
    if routing is not None:
        settled = registry.get("routing", routing).presets.get(point["size"], {})
        settled = {name if "." in name else f"routing.{name}": value for name, value in settled.items()}
        preset |= {name: value for name, value in settled.items() if name in own}
    decided["options"] = {**own, **preset, **chosen}
    decided["measures"] = measures_of(
        Cell.model_validate({**decided, "measures": (), "code": {}}), point.get("measures")
    )
    decided["code"] = source_digests(decided)
    cell = Cell.model_validate(decided)
    if "network.parameters" not in cell.options and network == "matched":
        raise UsageError("--network matched: it is sized after a capsule network; use --baseline matched beside one")
    try:
        build_network(cell, device="meta")
    except Exception as error:
        # What does not fit, or is larger than torch counts. Anything else is a defect of ours, unless the parts are not.
        if not isinstance(error, (ValueError, RuntimeError, OverflowError)) and not cell.code:
            raise
        raise UsageError(f"--network {network} --size {cell.size} on {cell.dataset}: {error}") from error
    return cell


def _subclass_of(base: type, kind: str, name: str) -> Any:
    """What a name stands for; raises UsageError where a user's own is not what that kind has to be."""
    found = registry.get(kind, name)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UsageError(f"--{kind} {name}: expected a subclass of {base.__module__}.{base.__name__}")
    return found


def _baseline_recipe(size: str) -> dict[str, Any]:
    return {"learning_rate": PAPER_LEARNING_RATE} if size == "paper" else {}


def _iterations(routing: str | None, asked: int | None) -> int | None:
    if routing is None:
        return None
    found = registry.get("routing", routing)
    if not found.iterative:
        return 1
    return asked or _default(found, "iterations", otherwise=_default(Routing, "iterations", otherwise=1))


def _default(component: Any, argument: str, otherwise: Any) -> Any:
    parameter = inspect.signature(component).parameters.get(argument)
    return otherwise if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def source_digests(decided: Mapping[str, Any]) -> dict[str, str]:
    """Digests of the files of a user's own parts among those of a cell, by kind; of measures also by name."""
    network = decided["network"]
    digests = {
        "dataset": registry.source_digest("dataset", decided["dataset"]),
        "network": registry.source_digest(_kind(network), network),
        "routing": registry.source_digest("routing", decided["routing"]) if decided["routing"] else None,
        "loss": registry.source_digest("loss", decided["loss"]) if decided["loss"] else None,
    }
    for name in map(measure_name, decided["measures"]):
        digests[f"measure {name}"] = registry.source_digest("measure", name)
    return {part: digest for part, digest in digests.items() if digest}


def _baseline_beside(
    cell: Cell, name: str, size: str, asked: Mapping[str, Any], measures: tuple[str, ...] | None
) -> Cell:
    """The baseline of a capsule network's cell: the same data, budget, schedule and seed, trained by cross-entropy."""
    if name not in registry.names("baseline") and (":" not in name or not is_baseline(name)):
        raise UsageError(
            f"--{BASELINE_FLAG}: {registry.unknown(name, [*registry.names('baseline'), 'none'])}, or your own CNN"
        )
    same = cell.model_dump(exclude={"options", "code", "routing", "iterations", "loss", "learning_rate", "measures"})
    point = {**same, "network": name, "routing": None, "reconstruction": False, "measures": measures}
    if "learning_rate" in asked:
        point["learning_rate"] = cell.learning_rate
    if name != "matched" and size == "own":
        return _resolve(point, {})
    if "parameters" not in inspect.signature(registry.get(_kind(name), name)).parameters:
        raise UsageError(f"{spelled(BASELINE_SIZE_FLAG)}: {name} has no option parameters to be sized by; use own")
    return _resolve(point, {"network.parameters": parameter_count(cell)})


def usable_cores() -> int:
    """The cores this process may use, which in a container can be fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
