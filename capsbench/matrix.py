"""Matrix: what a user asked for -> the cells to run.

A request is a mapping from names to values or lists of values, the same names on the command line, in a suite and in
Python: ``{"routing": ["em"], "iters": [1, 2, 3], "seeds": [0, 1, 2]}``. Lists are axes; the cells are their product, with
everything left open decided here and written into the Cell.
"""

from __future__ import annotations

import inspect
import itertools
import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from capsbench import registry
from capsbench.cell import BASELINE_FLAG, BASELINE_SIZE_FLAG, Cell, Scalar, asked_fields, choices, listed, spelled
from capsbench.components import (
    chosen_options,
    is_baseline,
    kind_of,
    loss_of,
    own_options,
    parts_of,
    product,
    source_digests,
    subclass_of,
)
from capsbench.data.base import Dataset
from capsbench.errors import UsageError, reason_of
from capsbench.measures.build import ALL, checked, make_measure, measures_of
from capsbench.models.base import is_self_supervised
from capsbench.models.build import build_network, parameter_count
from capsbench.recipe import AXES, PAPER_LEARNING_RATE, RECIPE
from capsbench.routing import Routing
from capsbench.shapes import ImageShape
from capsbench_kernels import BACKENDS, choose_backend

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
        for point in product(_with_components({**AXES, **fields})):
            points.append(point)
            measures = point.get("measures")
            to_measure |= {*(measures or ())} - {ALL}
            for chosen in chosen_options(point, options, used):
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
        known = {*asked_fields(), *(option.partition(".")[2] for point in points for option in own_options(point))}
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
            reason = registry.unknown(str(item), known) if known else f"{reason_of(error)}, got {item!r}"
            raise UsageError(f"{spelled(name)}: {reason}") from error
    return parsed


def _not_measurable(specs: Iterable[str], cell: Cell) -> UsageError:
    others = [name for name in registry.names("measure") if make_measure(name).applies_to(cell)]
    of = f"{cell.network} on {cell.dataset}"
    return UsageError(f"--measure {', '.join(specs)}: cannot be taken of {of}; choose from {', '.join(others)}")


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


def _resolve(point: Mapping[str, Any], chosen: Mapping[str, Scalar]) -> Cell:
    """The Cell of one point, whose network can be built."""
    cell = settled(point, chosen)
    if "network.parameters" not in cell.options and cell.network == "matched":
        raise UsageError("--network matched: it is sized after a capsule network; use --baseline matched beside one")
    try:
        build_network(cell, device="meta")
    except Exception as error:
        # What does not fit, or is larger than torch counts. Anything else is a defect of ours, unless the parts are not.
        if not isinstance(error, (ValueError, RuntimeError, OverflowError)) and not cell.code:
            raise
        raise UsageError(f"--network {cell.network} --size {cell.size} on {cell.dataset}: {error}") from error
    return cell


def settled(point: Mapping[str, Any], chosen: Mapping[str, Scalar]) -> Cell:
    """The Cell of one point: everything that is still open is taken from the data set, the network and `RECIPE`.

    Args:
        point: fields of the Cell; ``dataset``, ``size``, ``seed``, ``network`` and ``routing`` have to be there, or be None.
        chosen: options, by their full names.
    """
    network, routing = parts_of(point)
    dataset = subclass_of(Dataset, "dataset", point["dataset"])
    if not isinstance(getattr(dataset, "image", None), ImageShape) or not isinstance(
        getattr(dataset, "classes", None), int
    ):
        raise UsageError(
            f"--dataset {point['dataset']}: needs image = ImageShape(...) and classes = a number, on the class"
        )
    component = registry.get(kind_of(network), network)
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
        "loss": loss_of(point),
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
    own = {name: value for name, value in own_options(point).items() if value is not None}
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
    return Cell.model_validate(decided)


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
    if "parameters" not in inspect.signature(registry.get(kind_of(name), name)).parameters:
        raise UsageError(f"{spelled(BASELINE_SIZE_FLAG)}: {name} has no option parameters to be sized by; use own")
    return _resolve(point, {"network.parameters": parameter_count(cell)})


def usable_cores() -> int:
    """The cores this process may use, which in a container can be fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
