"""Which CNNs of a plan are too much work beside their capsule networks.

The parameters of a capsule network can sit in its decoder and its class matrices, where each is used once an image. In a CNN of
as many parameters each is used at every position, so on large images it may take longer than anyone waits, or more memory
than there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from capsbench.networks.build import forward_flops
from capsbench.planning.matrix import PlannedCell
from capsbench.planning.request import BASELINE_FLAG, BASELINE_SIZE_FLAG
from capsbench.records.cell import TARGET, Cell

MOST_FLOPS = 1e10
"""Of one image; a ResNet-50 takes 8e9 for one of 224x224. No CNN matched on images of up to 32x32 comes near it."""


class HeavyBaseline(NamedTuple):
    """A CNN that was sized after a capsule network, its FLOPs an image, and the flag by which another is chosen."""

    cell: Cell
    flops: int
    flag: str


def heavy_baselines(planned: Sequence[PlannedCell]) -> list[HeavyBaseline]:
    """The CNNs above `MOST_FLOPS`, each once whatever its seeds and its training."""
    sized = {
        (cell.dataset, cell.network, cell.options[TARGET]): cell
        for cell in (each.cell for each in planned)
        if not cell.has_routing and TARGET in cell.options
    }
    counted = {key: forward_flops(cell) for key, cell in sized.items()}
    return [
        HeavyBaseline(cell, counted[key], BASELINE_FLAG if cell.network == "matched" else BASELINE_SIZE_FLAG)
        for key, cell in sized.items()
        if counted[key] > MOST_FLOPS
    ]
