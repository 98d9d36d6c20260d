"""Resolves the baselines of a capsule network, and sizes them after it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from capsbench import registry
from capsbench.errors import Kind, UsageError
from capsbench.networks.backbones import NONE
from capsbench.networks.build import head_count
from capsbench.networks.factory import Factory
from capsbench.planning.parts import choose_network, choose_parts, is_baseline
from capsbench.planning.request import BASELINE_FLAG, BASELINE_SIZE_FLAG
from capsbench.planning.resolve import resolve_cell
from capsbench.records.cell import TARGET, Cell, Scalar, fields_of
from capsbench.records.declaration import Role
from capsbench_baselines.sizing import TOLERANCE, shared_targets

SHARED = {*fields_of(Role.TASK, Role.BUDGET, Role.SEED, Role.MACHINE)}
"""The fields that a baseline takes over from its capsule network."""


def resolve_baseline(cell: Cell, name: str, size: str, asked: Mapping[str, Any]) -> Cell:
    """Returns the baseline of a capsule network's cell: the same data, budget, schedule and seed, and its own loss.

    Args:
        size: ``own``, or ``matched`` to the parameters of the capsule network; behind a backbone, which both have, to those of
            the rest.
        asked: the fields that the user set; a learning rate among them is the baseline's too.
    """
    if name not in registry.names("baseline") and (":" not in name or not is_baseline(name, BASELINE_FLAG)):
        known = [*registry.names("baseline"), "none", *registry.name_schemes("baseline"), registry.YOUR_OWN]
        raise UsageError(Kind.UNKNOWN, flag=BASELINE_FLAG, value=name, expected=known)
    point = {**cell.model_dump(include=SHARED), "network": name, "routing": None}
    if "learning_rate" in asked:
        point["learning_rate"] = cell.learning_rate
    with _name_flag():
        parts, data = choose_parts(point), _select_data(cell)
    if isinstance(parts.network.component, Factory):  # a whole network, for images
        point |= {"backbone": NONE, "freeze_backbone": False}
    if name != "matched" and size == "own":
        with _name_flag():
            return resolve_cell(point, parts, data)
    if "parameters" not in inspect.signature(parts.network.component).parameters:
        problem = f"{name} has no option parameters to be sized by"
        raise UsageError(Kind.CONFLICT, problem, flag=BASELINE_SIZE_FLAG, value=size, expected="use own")
    count = head_count(cell)
    shared = _resolve_sized(_count_with_own_routing(cell, count), point, data)
    return shared if _is_near(shared, count) else _resolve_sized(count, point, data)


@contextmanager
def _name_flag() -> Iterator[None]:
    """Has faults of the baseline name its flag, where they name the network's."""
    try:
        yield
    except UsageError as fault:
        fault.flag = BASELINE_FLAG if fault.flag == "network" else fault.flag
        raise


def _count_with_own_routing(cell: Cell, count: int) -> int:
    """Returns the parameters, behind a backbone, of a cell's network with the routing that it has by default.

    Routings make a network a little larger or smaller. One baseline sized by this count serves all of them, whichever others
    are asked for.

    Args:
        count: the parameters with the cell's routing.
    """
    _, routing = choose_network(cell.network, None)
    if routing == cell.routing:
        return count
    point = {**cell.model_dump(include={*SHARED, "network", "reconstruction", "learning_rate"}), "routing": routing}
    options = {name: value for name, value in cell.options.items() if name.startswith(("dataset.", "network."))}
    try:
        return head_count(resolve_cell(point, choose_parts(point), options))
    except UsageError:  # the options of a user's own network may need a user's own routing
        return count


def _select_data(cell: Cell) -> dict[str, Scalar]:
    """Returns the options of the data set, by their full names: a baseline sees the same images."""
    return {name: value for name, value in cell.options.items() if name.startswith("dataset.")}


def _resolve_sized(parameters: int, point: Mapping[str, Any], data: Mapping[str, Scalar]) -> Cell:
    """Returns the baseline with a capsule network's parameter count, within `TOLERANCE` of it.

    Its target is the nearest of `shared_targets` that gives one, so that networks of almost one size share a baseline. Small
    CNNs come in few sizes: if none of these targets fits, it is the size that the count itself makes, else the count.
    """
    parts = choose_parts(point)

    def resolve_target(target: int) -> Cell:
        return resolve_cell(point, parts, {**data, TARGET: target})

    for target in shared_targets(parameters):
        with suppress(UsageError):  # no widths make so many; a fault of the count itself is raised below
            if _is_near(cell := resolve_target(target), parameters):
                return cell
    exact = resolve_target(parameters)
    with suppress(UsageError):
        if _is_near(cell := resolve_target(head_count(exact)), parameters):
            return cell
    return exact


def _is_near(cell: Cell, parameters: int) -> bool:
    return abs(head_count(cell) - parameters) <= TOLERANCE * parameters
