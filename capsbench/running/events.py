"""What a cell's process tells of as it goes."""

from __future__ import annotations

from dataclasses import dataclass

from capsbench.records.record import Row


@dataclass(frozen=True)
class Trained:
    """What training gives besides the weights, which lie in the store; ``backends`` are those the routings used."""

    history: list[dict[str, float]]
    rows: list[Row]
    backends: list[str]
    started: str
    seconds: float


@dataclass(frozen=True)
class Measuring:
    """A measure that is being taken."""

    spec: str


@dataclass(frozen=True)
class Measured:
    """The rows of a measure that was taken, and the seconds it took."""

    spec: str
    rows: list[Row]
    seconds: float


@dataclass(frozen=True)
class NotMeasured:
    """Why a measure could not be taken, as `capsbench.running.executors.local.to_be_told` has it."""

    spec: str
    failure: Exception
