"""Finds the CNNs of a plan that take too much work for their capsule networks.

A capsule network can have most parameters in its decoder and class matrices, where each is used once an image. A CNN with as many
parameters uses each at every position. On large images it may take longer than anyone waits, or more memory than there is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from capsbench.networks.build import forward_flops, parameter_count
from capsbench.planning.matrix import PlannedCell
from capsbench.planning.request import BASELINE_FLAG, BASELINE_SIZE_FLAG, spell_flag
from capsbench.records.cell import TARGET, Cell
from capsbench.records.parts import dataset_of

MOST_FLOPS = 1e10
"""The most FLOPs an image; a ResNet-50 takes 8e9 at 224x224. No CNN matched on images of up to 32x32 comes near it."""


class HeavyBaseline(NamedTuple):
    """A CNN that was sized after a capsule network, its FLOPs an image, and the flag that chooses another."""

    cell: Cell
    flops: int
    flag: str

    def __str__(self) -> str:
        remedy = "none, or a CNN of its own size" if self.flag == BASELINE_FLAG else "own"
        title = self.cell.title.rpartition(", seed ")[0]
        return (
            f"{title}: {self.flops / 1e9:,.0f} GFLOP an image, which may take too long or too much memory; "
            f"{spell_flag(self.flag)} {remedy} avoids it"
        )


def find_heavy_baselines(planned: Sequence[PlannedCell]) -> list[HeavyBaseline]:
    """Returns the CNNs above `MOST_FLOPS`, each once for all its seeds and trainings."""
    sized = {
        (cell.dataset, cell.network, cell.options[TARGET]): cell
        for cell in (item.cell for item in planned)
        if not cell.has_routing and TARGET in cell.options
    }
    counted = {key: forward_flops(cell) for key, cell in sized.items() if _may_be_heavy(cell)}
    return [
        HeavyBaseline(sized[key], flops, BASELINE_FLAG if sized[key].network == "matched" else BASELINE_SIZE_FLAG)
        for key, flops in counted.items()
        if flops > MOST_FLOPS
    ]


def _may_be_heavy(cell: Cell) -> bool:
    """Returns false if a CNN stays below `MOST_FLOPS` even if it multiplies each of its parameters once a pixel.

    None of the built-in ones enlarges an image. Counting exactly takes a forward pass, for which torch imports its compiler.
    """
    pixels = math.prod(dataset_of(cell).image[1:])
    return bool(cell.code) or 2 * parameter_count(cell) * pixels > MOST_FLOPS
