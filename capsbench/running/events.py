"""What a job sends while it works on a cell, besides the `Progress` of its training."""

from __future__ import annotations

from dataclasses import dataclass, field

from capsbench.measures.spec import MeasureSpec
from capsbench.records.record import Artifact, Row


@dataclass(frozen=True)
class Trained:
    """What training gave; the weights lie in the store.

    Attributes:
        backends: the implementations of the vote pass that the routings used.
        versions: those of the components, see `capsbench.records.versions`.
        sources: digests of a user's own parts by module (`capsbench.records.parts.Parts.digest_modules`), and of the data.
        data: digest of the data as loaded, see `capsbench.data.digest`.
    """

    history: list[dict[str, float]]
    rows: list[Row]
    backends: list[str]
    versions: dict[str, int]
    weights: Artifact
    started: str
    seconds: float
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    data: str | None = None


@dataclass(frozen=True)
class Measuring:
    """A measure that is being taken."""

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


@dataclass(frozen=True)
class NotMeasured:
    """Why a measure could not be taken, as `capsbench.running.executors.local.to_be_told` has it."""

    spec: str
    failure: Exception
