"""The weights of a cell that were trained elsewhere: their file, and whether they fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from capsbench.errors import Kind, UsageError
from capsbench.networks.build import build_network
from capsbench.networks.weights import explain_misfit, read_state
from capsbench.planning.request import WEIGHTS
from capsbench.records.cell import Cell
from capsbench.sources.weights import WeightsFile, find_weights

if TYPE_CHECKING:
    from capsbench.planning.matrix import PlannedCell


def refuse_given(planned: Iterable[PlannedCell], flag: str) -> None:
    """Refuses weights that were trained elsewhere where networks have to be trained.

    Args:
        flag: the flag of what trains them, or the command.
    """
    for job in planned:
        if job.weights is not None:
            problem = f"{flag} trains networks, and weights from a file are measured as they are"
            raise UsageError(Kind.CONFLICT, problem, flag=WEIGHTS, value=job.weights.typed, expected="leave one out")


def find_fitting(cell: Cell) -> WeightsFile | None:
    """Returns the file of the weights that a cell is given; None for a cell that is trained.

    Raises:
        UsageError: the weights cannot be read, or do not fit the network of the cell.
    """
    file = find_weights(cell.weights)
    if file is None:
        return None
    network = build_network(cell, device="meta")
    try:
        state = read_state(file.path, network)
    except UsageError as error:
        error.value = file.typed
        raise
    if misfit := explain_misfit(network, state):
        problem = f"does not fit {cell.network} with {{flag:size}} {cell.size} on {cell.dataset}: {misfit}"
        raise UsageError(Kind.CONFLICT, problem, flag=WEIGHTS, value=file.typed)
    return file
