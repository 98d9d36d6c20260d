"""The events of a run: small, frozen, picklable values.

A job sends a `JobEvent` when there is more to tell of its cell: the `Progress` of its training, the end of an epoch, or one of
the first classes below. The run writes the records, and passes each `JobEvent` on to its listener with the cell, among events of
its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from capsbench.measures.spec import MeasureSpec
from capsbench.records.cell import Cell
from capsbench.records.record import Artifact, Facts, Record, Row, Segment
from capsbench.training.loop import EpochEnded, Progress


@dataclass(frozen=True)
class Trained:
    """The result of a training; the weights lie in the store.

    Attributes:
        backends: the implementations of the vote pass that the routings used.
        versions: those of the components, see `capsbench.records.versions`.
        sources: digests of a user's own parts by module (`capsbench.records.parts.Parts.digest_modules`), and of the data.
        data: digest of the data as loaded, see `capsbench.data.digest`.
        provenance: machine, software and commit of the process that trained.
        seconds: the duration of the training; None if the weights were trained elsewhere, and there is no history.
        segments: the parts of an interrupted training; empty if it was not interrupted.
    """

    history: list[dict[str, float]]
    rows: list[Row]
    backends: list[str]
    versions: dict[str, int]
    weights: Artifact
    started: str
    seconds: float | None
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    data: str | None = None
    provenance: Facts = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)


@dataclass(frozen=True)
class Resumed:
    """A training goes on from a checkpoint, after ``epoch`` of ``epochs``."""

    epoch: int
    epochs: int


@dataclass(frozen=True)
class Checkpointed:
    """A checkpoint was written; its file holds its own digest."""

    checkpoint: Artifact


@dataclass(frozen=True)
class Remarked:
    """A line that the user should read."""

    remark: str


@dataclass(frozen=True)
class Measuring:
    """A measure begins."""

    spec: str


@dataclass(frozen=True)
class Measured:
    """The results of a measure, as in `capsbench.records.record.Measurement`; ``spec`` names it as in ``--measure``."""

    spec: str
    rows: list[Row]
    seconds: float
    version: int
    kept: Artifact | None
    code: str | None
    data: str | None = None
    declaration: MeasureSpec | None = None
    provenance: Facts = field(default_factory=dict)


@dataclass(frozen=True)
class NotMeasured:
    """A measure failed, with an error as `capsbench.running.executors.processes.to_sendable` makes it."""

    spec: str
    failure: Exception


JobEvent: TypeAlias = (
    Progress | EpochEnded | Resumed | Checkpointed | Remarked | Trained | Measuring | Measured | NotMeasured
)


def list_artifacts(event: JobEvent) -> list[Artifact]:
    """Returns the files of the results folder that an event names."""
    return [value for value in getattr(event, "__dict__", {}).values() if isinstance(value, Artifact)]


@dataclass(frozen=True)
class DataLeftOut:
    """The cells of a data set are left out, since it cannot be loaded."""

    dataset: str
    cells: int
    reason: str


@dataclass(frozen=True)
class MeasureLeftOut:
    """A measure that the user did not name is left out: it cannot be taken on this machine, or beside what is on record."""

    measure: str
    reason: str


@dataclass(frozen=True)
class RunStarted:
    """All cells of the run are known, and the records of those that are not run again."""

    cells: tuple[Cell, ...]
    on_record: tuple[Record, ...]


@dataclass(frozen=True)
class JobReported:
    """The job of a cell sent an event."""

    cell: Cell
    event: JobEvent


@dataclass(frozen=True)
class CellEnded:
    """The job of a cell ended, or a later measure of it failed."""

    record: Record


@dataclass(frozen=True)
class MeasuringAlone:
    """Measures of a cell begin while nothing else runs."""

    cell: Cell
    measures: tuple[str, ...]


@dataclass(frozen=True)
class MeasuringBetween:
    """A measure begins from each of some networks to the others."""

    measure: str
    networks: int


RunEvent: TypeAlias = (
    Remarked | DataLeftOut | MeasureLeftOut | RunStarted | JobReported | CellEnded | MeasuringAlone | MeasuringBetween
)


class Listener(Protocol):
    """Receives the events of a run, in order; `capsbench.running.progress` shows them on a terminal."""

    def notify(self, event: RunEvent) -> None: ...
