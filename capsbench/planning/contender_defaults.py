"""The values that a contender has where nothing is asked for, and titles of cells, which say what differs from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from capsbench import registry
from capsbench.errors import FOREIGN
from capsbench.planning.defaults import AXES
from capsbench.presenting.naming import Names
from capsbench.records.cell import OF_MACHINE, Cell, describe_cell


def defaults_of(cell: Cell) -> Mapping[str, Any]:
    """Field or option -> its default, for a cell of the same data set, size, network, routing and loss.

    Defaults are those of the data set, the network and its size, the routing's presets and the plan. Empty where they cannot
    be known, such as of a network of one's own that is not here, or that a record alone names.
    """
    parts = filter(None, (cell.dataset, cell.network, cell.routing, cell.loss))
    if not all(map(registry.is_trusted, parts)):
        return {}
    return _defaults(cell.dataset, cell.size, cell.network, cell.routing, cell.loss)


def title_cells(cells: Iterable[Cell]) -> dict[str, str]:
    """Cell -> its title among these: ``capsnet dynamic x3 tiny, digits, learning rate 0.1, seed 0``."""
    cells = list(cells)
    return Names(cells, defaults_of).titles(cells)


@cache
def _defaults(dataset: str, size: str, network: str, routing: str | None, loss: str | None) -> Mapping[str, Any]:
    from capsbench.planning.matrix import settled  # imports torch, which few who read records need

    point = {"dataset": dataset, "size": size, "seed": 0, "network": network, "routing": routing, "device": "cpu"}
    try:
        cell = settled(point, {})
        options = cell.options if loss == cell.loss else settled({**point, "loss": loss}, {}).options
        known = {**describe_cell(cell), **options, **_own_parts(point)}
    except FOREIGN:  # a user's own part may raise anything
        return {}
    return {name: value for name, value in known.items() if name not in OF_MACHINE and not name.startswith("code.")}


def _own_parts(point: Mapping[str, Any]) -> dict[str, Any]:
    """What is taken where the fields that name a contender are left open: a network's own routing, a routing's own network."""
    from capsbench.planning.options import parts_of

    own = {"dataset": AXES["dataset"][0], "size": AXES["size"][0]}
    if point["routing"] is not None:
        own["routing"] = parts_of({**point, "routing": None})[1]
        own["network"] = parts_of({**point, "network": None})[0]
    return own
