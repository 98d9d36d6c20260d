"""What is kept of a cell and of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pydantic import FiniteFloat

from capsbench.records.cell import Cell

SCHEMA = 1
"""The layout of a record; a record of another schema is reported and passed over."""


class Row(NamedTuple):
    """One number: ``Row("accuracy", "accuracy", "test", 0.98, "fraction")``.

    ``level`` is how much there is of what the condition names, where that is swept: degrees of a rotation, an attack's epsilon.
    Both numbers are finite on disk.
    """

    measure: str
    metric: str
    condition: str
    value: FiniteFloat
    unit: str
    level: FiniteFloat | None = None


@dataclass(frozen=True)
class Record:
    """What is kept of one cell: ``trained`` while some measures are still to be taken, then ``finished``; or ``failed``.

    ``reason`` says why a failed one failed, ``history`` has one entry an epoch, ``measured`` names the measures that were taken.
    """

    cell: Cell
    status: Literal["trained", "finished", "failed"]
    reason: str = ""
    rows: list[Row] = field(default_factory=list)
    history: list[dict[str, FiniteFloat]] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    measured: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """One `capsbench run`: its command, when it started, and the identities of the cells it was asked for.

    ``suite`` is the one it came from, and ``left_out`` says of each data set that could not be had there why not.
    """

    name: str
    started: str
    command: str
    cells: list[str]
    suite: str | None = None
    left_out: dict[str, str] = field(default_factory=dict)
