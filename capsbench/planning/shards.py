"""Divides a plan into parts that machines run on their own, each in a folder of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from capsbench.errors import Kind, UsageError
from capsbench.measures.base import MeasureBetween
from capsbench.measures.build import make_measure
from capsbench.planning.matrix import PlannedCell
from capsbench.records.cell import Cell, fields_of
from capsbench.records.declaration import Role

SHARD_FLAG = "shard"


class Shard(NamedTuple):
    """The ``number``-th, from 1, of ``parts`` of a plan."""

    number: int
    parts: int

    def __str__(self) -> str:
        return f"{self.number}/{self.parts}"


def parse_shard(value: str | Sequence[int]) -> Shard:
    """Returns the shard of ``"2/4"`` or ``(2, 4)``; raises UsageError for any other value."""
    text = value if isinstance(value, str) else "/".join(map(str, value))
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip(), flags=re.ASCII)
    shard = Shard(*map(int, match.groups())) if match else Shard(0, 0)
    if not 1 <= shard.number <= shard.parts:
        raise UsageError(Kind.INVALID, flag=SHARD_FLAG, expected="I/N with I from 1 to N, such as 1/4", value=value)
    return shard


def select_shard(planned: Sequence[PlannedCell], shard: Shard) -> list[PlannedCell]:
    """Returns the cells of one part of a plan, in the order of the plan and without measures between networks.

    The parts differ by at most one cell. Cells that take about as long as each other are dealt out in turn. The same request has
    the same parts on every machine, whatever is on record there.
    """
    dealt = sorted(planned, key=lambda job: _rank_by_cost(job.cell))[shard.number - 1 :: shard.parts]
    chosen = {job.cell.id for job in dealt}
    between = set(list_between(planned))
    return [
        replace(job, measures=tuple(spec for spec in job.measures if spec not in between))
        for job in planned
        if job.cell.id in chosen
    ]


def list_between(planned: Sequence[PlannedCell]) -> list[str]:
    """Returns the measures between networks of a plan, which need all of them."""
    specs = sorted({spec for job in planned for spec in job.measures})
    return [spec for spec in specs if isinstance(make_measure(spec), MeasureBetween)]


def _rank_by_cost(cell: Cell) -> tuple[object, ...]:
    """Returns a key that puts cells of like cost next to each other: CNNs first, then many iterations, as a run trains them."""
    alike = [str(getattr(cell, name)) for name in fields_of(Role.TASK, Role.NETWORK, Role.BUDGET, Role.OWN)]
    return cell.has_routing, -(cell.iterations or 0), alike
