"""Finds the CNNs of a plan that take too much work for their capsule networks.

A capsule network can have most parameters in its decoder and class matrices, where each is used once an image. A CNN with as many
parameters uses each at every position. On large images it may take longer than anyone waits, or more memory than there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from capsbench.networks.build import forward_flops
from capsbench.planning.matrix import PlannedCell
from capsbench.planning.request import BASELINE_FLAG, BASELINE_SIZE_FLAG
from capsbench.records.cell import TARGET, Cell

MOST_FLOPS = 1e10
"""The most FLOPs an image; a ResNet-50 takes 8e9 at 224x224. No CNN matched on images of up to 32x32 comes near it."""


class HeavyBaseline(NamedTuple):
    """A CNN that was sized after a capsule network, its FLOPs an image, and the flag that chooses another."""

    cell: Cell
    flops: int
    flag: str


def find_heavy_baselines(planned: Sequence[PlannedCell]) -> list[HeavyBaseline]:
    """Returns the CNNs above `MOST_FLOPS`, each once for all its seeds and trainings."""
    sized = {
        (cell.dataset, cell.network, cell.options[TARGET]): cell
        for cell in (item.cell for item in planned)
        if not cell.has_routing and TARGET in cell.options
    }
    counted = {key: forward_flops(cell) for key, cell in sized.items()}
    return [
        HeavyBaseline(cell, counted[key], BASELINE_FLAG if cell.network == "matched" else BASELINE_SIZE_FLAG)
        for key, cell in sized.items()
        if counted[key] > MOST_FLOPS
    ]
