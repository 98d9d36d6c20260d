"""Matrix: what a user asked for -> the cells to run, and what is wanted of each.

A request is a mapping from names to values or lists of values, the same names on the command line, in a suite and in
Python: ``{"routing": ["em"], "iters": [1, 2, 3], "seeds": [0, 1, 2]}``. Lists are axes; the cells are their product, with
everything left open decided here and written into the Cell.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from capsbench import registry
from capsbench.data.images import ImageShape
from capsbench.errors import FOREIGN, Kind, UsageError, message_of
from capsbench.measures.build import ALL, NONE, make_measure, measures_of
from capsbench.networks.base import is_self_supervised
from capsbench.networks.build import build_network, parameter_count
from capsbench.planning.defaults import PAPER_LEARNING_RATE, RECIPE, complete_axes
from capsbench.planning.options import (
    chosen_options,
    is_baseline,
    loss_of,
    own_options,
    parts_of,
    product,
    source_digests,
)
from capsbench.planning.request import (
    BASELINE_FLAG,
    BASELINE_SIZE_FLAG,
    MEASURE_FLAG,
    Request,
    listed,
    narrow_request,
    split_request,
)
from capsbench.records.cell import TARGET, Cell, Scalar, asked_fields
from capsbench.routing import Routing
from capsbench_baselines.sizing import TOLERANCE, shared_targets
from capsbench_kernels import choose_backend


@dataclass(frozen=True)
class PlannedCell:
    """A cell to run, and what is wanted beside its weights.

    Attributes:
        measures: the specs of what is to be measured.
        request: what the user asked for to get this cell: names of flags in Python, each with one value.
        device: where it runs: ``cpu``, ``cuda`` or ``cuda:1``. Which GPU it is makes no other cell.
        data: part -> digest, of what a user's own data set gave when the cell was planned; empty for built-in ones.
    """

    cell: Cell
    measures: tuple[str, ...] = ()
    request: Mapping[str, Scalar | None] = field(default_factory=dict)
    device: str = "cpu"
    data: Mapping[str, str] = field(default_factory=dict)


def cells_of(*requests: Mapping[str, Any]) -> list[Cell]:
    """The cells of `plan_cells`."""
    return [planned.cell for planned in plan_cells(*requests)]


def plan_cells(*requests: Mapping[str, Any]) -> list[PlannedCell]:
    """The cells of one request or several, baselines included, each once, in an order that finishes seeds of one row together.

    Args:
        requests: names as in `asked_fields` (``routing``, ``iters``, ``train_size``, ...), ``measure``, ``baseline``,
            ``baseline_size`` and options of networks and routings; each a value, a list of values, or a string with commas.
            ``all`` stands for every routing, network or baseline that there is.

    Raises:
        UsageError: an unknown name, such as an option that none of the requests can use, or a value that does not fit.
    """
    cells: dict[str, PlannedCell] = {}
    points: list[dict[str, Any]] = []
    asked: set[str] = set()
    used: set[str] = set()
    to_measure: set[str] = set()
    for request in requests:
        parts = split_request(request)
        asked |= set(parts.options)
        to_measure |= {*(parts.measures or ())} - {ALL}
        for point in product(complete_axes(parts.fields)):
            points.append(point)
            for chosen in chosen_options(point, parts.options, used):
                planned = _plan_cell(request, point, chosen, parts)
                if planned is None:
                    continue  # every network means each that can be measured so
                _add(cells, planned)
                for name, size in parts.baselines if planned.cell.has_routing else ():
                    beside = _plan_baseline(planned, name, size, parts)
                    if beside is not None:
                        _add(cells, beside)
    never = to_measure.difference(*(planned.measures for planned in cells.values()))
    if never:
        raise _not_measurable(sorted(never), next(iter(cells.values())).cell)
    routed = any(planned.cell.has_routing for planned in cells.values())
    for name in ("routing", "iters", BASELINE_FLAG):
        values = [value for request in requests if (value := request.get(name)) not in (None, "none", ["none"])]
        if not routed and values:
            raise UsageError(
                Kind.CONFLICT,
                "none of the networks asked for has capsules that are routed",
                flag=name,
                value=",".join(map(str, listed(values[0]))),
            )
    for name in sorted(asked - used):
        options = {option.partition(".")[2] for point in points for option in own_options(point)}
        known = {*asked_fields(), MEASURE_FLAG, BASELINE_FLAG, BASELINE_SIZE_FLAG, *options}
        raise UsageError(Kind.UNKNOWN, flag=name, value=name, expected=sorted(known))
    return sorted(cells.values(), key=lambda planned: not planned.cell.has_routing)


def _plan_cell(
    request: Mapping[str, Any], point: Mapping[str, Any], chosen: Mapping[str, Scalar], parts: Request
) -> PlannedCell | None:
    """The cell of one point with its measures; None where it has none of them and every network was asked for."""
    cell = _resolve(point, chosen)
    measures = measures_of(cell, parts.measures)
    if not measures and parts.measures != ():
        if "all" in listed(request.get("network")):
            return None
        raise _not_measurable(parts.measures or (), cell)
    narrowed = narrow_request(request, point, chosen)
    if parts.measures is not None:
        narrowed[MEASURE_FLAG] = ALL if parts.measures == (ALL,) else ",".join(measures) or NONE
    if cell.has_routing:
        narrowed[BASELINE_FLAG] = "none"
    where = point.get("device")
    return PlannedCell(cell, measures, narrowed, cell.device if where in (None, "auto") else str(where))


def _plan_baseline(planned: PlannedCell, name: str, size: str, parts: Request) -> PlannedCell | None:
    """A baseline beside a capsule network; None where none of the measures can be taken of it."""
    cell = _baseline_beside(planned.cell, name, size, parts.fields)
    measures = measures_of(cell, parts.measures)
    if not measures and parts.measures != ():
        return None
    request = {**planned.request, BASELINE_FLAG: name}
    if size != "own":
        request[BASELINE_SIZE_FLAG] = size
    return PlannedCell(cell, measures, request, planned.device)


def _add(cells: dict[str, PlannedCell], planned: PlannedCell) -> None:
    """Adds a cell; one that is there already has the measures of both."""
    known = cells.setdefault(planned.cell.id, planned)
    if known.device != planned.device:
        problem = "which GPU a cell runs on makes no other experiment"
        both = f"{known.device},{planned.device}"
        raise UsageError(Kind.CONFLICT, problem, flag="device", value=both, expected="name one")
    measures = tuple(sorted({*known.measures, *planned.measures}))
    if measures != known.measures:
        request = {**known.request, MEASURE_FLAG: ",".join(measures)}
        cells[planned.cell.id] = replace(known, measures=measures, request=request)


def _not_measurable(specs: Iterable[str], cell: Cell) -> UsageError:
    others = [name for name in registry.names("measure") if make_measure(name).applies_to(cell)]
    problem = f"cannot be taken of {cell.network} on {cell.dataset}"
    return UsageError(Kind.CONFLICT, problem, flag="measure", value=", ".join(specs), expected=others)


def _resolve(point: Mapping[str, Any], chosen: Mapping[str, Scalar]) -> Cell:
    """The Cell of one point, whose network can be built."""
    cell = settled(point, chosen)
    if TARGET not in cell.options and cell.network == "matched":
        remedy = f"use {{flag:{BASELINE_FLAG}}} matched beside one"
        problem = "it is sized after a capsule network"
        raise UsageError(Kind.CONFLICT, problem, flag="network", value="matched", expected=remedy)
    try:
        build_network(cell, device="meta")
    except FOREIGN as error:
        # What does not fit, or is larger than torch counts. Anything else is a defect of ours, unless the parts are not.
        if not isinstance(error, (ValueError, RuntimeError, OverflowError)) and not cell.code:
            raise
        raise _not_buildable(cell, error) from error
    return cell


def _not_buildable(cell: Cell, error: BaseException) -> UsageError:
    """What to change so that a cell's network can be built: the option that is refused, where it is one."""
    argument, value = getattr(error, "argument", None), getattr(error, "value", None)
    if argument in {option.partition(".")[2] for option in cell.options}:
        expected = str(getattr(error, "expected", "")) or message_of(error)
        problem = f"{cell.network} at size {cell.size} on {cell.dataset}: expected {expected}"
        return UsageError(Kind.INVALID, problem, flag=argument, value=value, expected=expected)
    problem = f"cannot be built with {{flag:size}} {cell.size} on {cell.dataset}: {message_of(error)}"
    return UsageError(Kind.CONFLICT, problem, flag="network", value=cell.network)


def settled(point: Mapping[str, Any], chosen: Mapping[str, Scalar]) -> Cell:
    """The Cell of one point: everything that is still open is taken from the data set, the network and `RECIPE`.

    Args:
        point: fields of the Cell; ``dataset``, ``size``, ``seed``, ``network`` and ``routing`` have to be there, or be None.
        chosen: options, by their full names.
    """
    network, routing = parts_of(point)
    dataset = registry.get("dataset", point["dataset"])
    if not isinstance(getattr(dataset, "image", None), ImageShape) or not isinstance(
        getattr(dataset, "classes", None), int
    ):
        expected = "a class with image = ImageShape(...) and classes = a number"
        raise UsageError(Kind.INVALID, flag="dataset", expected=expected, value=point["dataset"])
    component = registry.get(registry.kind_of(network), network)
    if not hasattr(component, "sizes"):
        expected = "a class with sizes(image), the options that make it tiny, small and paper"
        raise UsageError(Kind.INVALID, flag="network", expected=expected, value=network)
    sizes = component.sizes(dataset.image)
    if point["size"] not in sizes:
        problem = f"not a size of {network}"
        raise UsageError(Kind.UNKNOWN, problem, flag="size", value=point["size"], expected=[*sizes])

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
        expected = f"less than {side}, the side of the images of {point['dataset']}"
        raise UsageError(Kind.INVALID, flag="shift", expected=expected, value=decided["shift"])
    if self_supervised and decided.get("stop_at"):
        problem = f"{network} is not about classes, so it has no accuracy to stop at"
        raise UsageError(Kind.CONFLICT, problem, flag="stop_at", value=decided["stop_at"], expected="leave it out")
    if self_supervised and decided["loss"]:
        problem = f"{network} has none, it is trained on an objective of its own"
        raise UsageError(Kind.CONFLICT, problem, flag="loss", value=decided["loss"], expected="leave it out")
    if not self_supervised:
        registry.get("loss", decided["loss"])
    decided["iterations"] = _iterations(routing, point.get("iterations"))
    if decided["reconstruction"] and dataset.standardised:
        problem = f"the decoder makes pixels from 0 to 1, those of {point['dataset']} are standardised"
        raise UsageError(Kind.CONFLICT, problem, flag="reconstruction", value=True, expected="use no")
    if not capsules and decided["reconstruction"]:
        problem = f"{'' if self_supervised else 'the CNN '}{network} has no decoder"
        remedy = f"beside a capsule network, use {{flag:{BASELINE_FLAG}}}"
        raise UsageError(Kind.CONFLICT, problem, flag="reconstruction", value=True, expected=remedy)
    if not capsules and decided["loss"] in ("margin", "spread"):
        problem = "it needs activations in [0, 1]"
        remedy = f"the CNN {network} has logits: cross-entropy"
        raise UsageError(Kind.CONFLICT, problem, flag="loss", value=decided["loss"], expected=remedy)
    if decided["device"] == "auto":
        decided["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    decided["device"] = decided["device"].partition(":")[0]
    if decided.get("compile") == "cuda-graphs" and decided["device"] == "cpu":
        remedy = "on a CPU there are none and default"
        raise UsageError(Kind.CONFLICT, "it needs a CUDA device", flag="compile", value="cuda-graphs", expected=remedy)
    if capsules and decided["backend"] != "auto":  # what auto chooses exists everywhere, and is on the record
        try:
            choose_backend(decided["backend"], decided["device"])
        except ValueError as error:
            problem = f"cannot run here: {getattr(error, 'reason', error)}"
            remedy = f"auto would choose {choose_backend('auto', decided['device'])}"
            raise UsageError(
                Kind.MISSING, problem, flag="backend", value=decided["backend"], expected=remedy
            ) from error
    own = {name: value for name, value in own_options(point).items() if value is not None}
    preset = {f"network.{name}": value for name, value in sizes[point["size"]].items()}
    if routing is not None:
        settled = registry.get("routing", routing).presets.get(point["size"], {})
        settled = {name if "." in name else f"routing.{name}": value for name, value in settled.items()}
        preset |= {name: value for name, value in settled.items() if name in own}
    decided["options"] = {**own, **preset, **chosen}
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


def _baseline_beside(cell: Cell, name: str, size: str, asked: Mapping[str, Any]) -> Cell:
    """The baseline of a capsule network's cell: the same data, budget, schedule and seed, trained by cross-entropy."""
    if name not in registry.names("baseline") and (":" not in name or not is_baseline(name, BASELINE_FLAG)):
        known = [*registry.names("baseline"), "none", registry.YOUR_OWN]
        raise UsageError(Kind.UNKNOWN, flag=BASELINE_FLAG, value=name, expected=known)
    same = cell.model_dump(exclude={"options", "code", "routing", "iterations", "loss", "learning_rate"})
    point = {**same, "network": name, "routing": None, "reconstruction": False}
    if "learning_rate" in asked:
        point["learning_rate"] = cell.learning_rate
    if name != "matched" and size == "own":
        return _resolve(point, {})
    if "parameters" not in inspect.signature(registry.get(registry.kind_of(name), name)).parameters:
        problem = f"{name} has no option parameters to be sized by"
        raise UsageError(Kind.CONFLICT, problem, flag=BASELINE_SIZE_FLAG, value=size, expected="use own")
    own = parameter_count(cell)
    shared = _sized_for(_count_with_own_routing(cell, own), point)
    return shared if _is_near(shared, own) else _sized_for(own, point)


def _count_with_own_routing(cell: Cell, count: int) -> int:
    """The parameters of a cell's network with the routing that it has by default.

    Routings make it a little larger or smaller. Sized by this one number, one baseline stands beside all of them, whichever else
    are asked for.

    Args:
        count: the parameters with the cell's routing.
    """
    routing = parts_of({"network": cell.network, "routing": None})[1]
    if routing == cell.routing:
        return count
    point = cell.model_dump(exclude={"options", "code", "routing", "iterations", "loss"})
    options = {name: value for name, value in cell.options.items() if name.startswith("network.")}
    try:
        return parameter_count(_resolve({**point, "routing": routing}, options))
    except UsageError:  # options of one's own network can rest on one's own routing
        return count


def _sized_for(parameters: int, point: Mapping[str, Any]) -> Cell:
    """The baseline of a capsule network's parameter count, within `TOLERANCE` of it.

    It is asked for the nearest of `shared_targets` that gives one, so that networks of almost one size share it. Small CNNs come
    in few sizes: where none of these fits, it is asked for the very size that the count makes, else for the count.
    """

    def sized(target: int) -> Cell:
        return _resolve(point, {TARGET: target})

    for target in shared_targets(parameters):
        with suppress(UsageError):  # no widths make so many; what is wrong with the count itself is told below
            if _is_near(cell := sized(target), parameters):
                return cell
    exact = sized(parameters)
    with suppress(UsageError):
        if _is_near(cell := sized(parameter_count(exact)), parameters):
            return cell
    return exact


def _is_near(cell: Cell, parameters: int) -> bool:
    return abs(parameter_count(cell) - parameters) <= TOLERANCE * parameters


def usable_cores() -> int:
    """The cores this process may use, which in a container can be fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
