"""Finds a contender's defaults, and titles cells by what differs from them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from capsbench import registry
from capsbench.errors import FOREIGN, UsageError
from capsbench.planning.defaults import AXES
from capsbench.presenting.naming import Defaults, Names
from capsbench.records.cell import DATA, OF_MACHINE, Cell, Scalar, describe_cell
from capsbench.records.record import Record
from capsbench.sources import locations

if TYPE_CHECKING:
    from capsbench.data.own.described import DescribedImages


def defaults_from(records: Iterable[Record]) -> Defaults:
    """Returns `defaults_of` by what the records say of images of one's own, which a reader of records need not have."""
    described: dict[Hashable, DescribedImages] = {}
    for record in records:
        if not locations.split_scheme(record.cell.dataset)[0] or record.training is None:
            continue
        from capsbench.data.own.described import describe_images  # imports torch

        with suppress(UsageError):  # a record that was changed; that of another seed may be whole
            images = describe_images(record.cell, record.training.sources)
            if images is not None:
                described.setdefault(_name_data(record.cell), images)
    return lambda cell: defaults_of(cell, described.get(_name_data(cell)))


def _name_data(cell: Cell) -> Hashable:
    """Returns the data set of a cell with its options, and the digest of its images."""
    return cell.dataset, _list_data_options(cell), cell.code.get(DATA)


def _list_data_options(cell: Cell) -> tuple[tuple[str, Scalar], ...]:
    return tuple((name, value) for name, value in cell.options.items() if name.startswith("dataset."))


def defaults_of(cell: Cell, described: DescribedImages | None = None) -> Mapping[str, Any]:
    """Returns field or option -> its default, for cells with this data set, size, network, routing and loss.

    Defaults come from the data set, the network at its size, the routing's presets and the plan. The result is empty if they are
    unknown, as for a user's own network that only a record names.

    Args:
        described: the data set by what its record says of it.
    """
    parts = filter(None, (None if described else cell.dataset, cell.network, cell.routing, cell.loss))
    if not all(map(registry.is_trusted, parts)):
        return {}
    named = cell.network, cell.routing, cell.loss, cell.backbone
    return _find_defaults(cell.dataset, cell.size, *named, _list_data_options(cell), cell.code.get(DATA), described)


def title_cells(cells: Iterable[Cell]) -> dict[str, str]:
    """Returns cell -> its title among these: ``capsnet dynamic x3 tiny, digits, learning rate 0.1, seed 0``."""
    cells = list(cells)
    return Names(cells, defaults_of).titles(cells)


@cache
def _find_defaults(
    dataset: str,
    size: str,
    network: str,
    routing: str | None,
    loss: str | None,
    backbone: str,
    data: tuple[tuple[str, Scalar], ...],
    images: str | None,
    described: DescribedImages | None,
) -> Mapping[str, Any]:
    """Returns the defaults of cells on a data set with some options.

    Args:
        images: a digest of them; other images of one name have other defaults.
        described: as in `defaults_of`.
    """
    # These import torch, which few readers of records need.
    from capsbench.planning.options import read_options
    from capsbench.planning.parts import choose_parts
    from capsbench.planning.resolve import complete_cell

    point = {"dataset": dataset, "size": size, "seed": 0, "network": network, "routing": routing, "device": "cpu"}
    point["backbone"] = backbone  # decides the sizes of what follows it

    def complete(point: dict[str, Any]) -> Cell:
        return complete_cell(point, replace(choose_parts(point), described=described), dict(data))

    try:
        cell = complete(point)
        if loss != cell.loss:
            cell = cell.model_copy(update={"options": complete({**point, "loss": loss}).options})
        known = {**describe_cell(cell), "backbone": "none", **_find_partners(network, routing)}
        known |= {f"dataset.{name}": usual for name, usual in read_options(registry.get("dataset", dataset)).items()}
    except FOREIGN:  # a user's own part may raise anything
        return {}
    return {name: value for name, value in known.items() if name not in OF_MACHINE and not name.startswith("code.")}


def _find_partners(network: str, routing: str | None) -> dict[str, Any]:
    """Returns the values of the fields that name a contender, if they are left open: each part's own partner."""
    from capsbench.planning.parts import choose_network

    partners = {"dataset": AXES["dataset"][0], "size": AXES["size"][0]}
    if routing is not None:
        partners["routing"] = choose_network(network, None)[1]
        partners["network"] = choose_network(None, routing)[0]
    return partners
