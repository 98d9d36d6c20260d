"""How the epochs of a network were found: the part of a record that a search for epochs writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import FiniteFloat, StringConstraints

from capsbench.records.cell import Count, CountFromZero

AUTO_EPOCHS = "tuning.auto"
"""The option that tells a contender whose epochs were searched for from one with fixed epochs, in tables and pictures."""

MOST_FACTOR = 8
"""The most epochs that a search tries, as a multiple of those that it starts from."""


@dataclass(frozen=True)
class Rung:
    """The trials with one number of epochs.

    Attributes:
        epochs: of each trial.
        validation: their mean validation performance, higher is better; None if none could be trained.
        is_improving: whether they were still improving at the end; None if that is not known.
    """

    epochs: Count
    validation: FiniteFloat | None = None
    is_improving: bool | None = None


@dataclass(frozen=True)
class Convergence:
    """The search for epochs that a trial belongs to, or that found the epochs of a result.

    Attributes:
        contender: identity of the contender with the epochs that the search started from.
        start: these epochs.
        ceiling: the most epochs that the search may try.
        seeds: those of the trials with each number of epochs.
        tried: of a result, the trials in order; the next ones have more epochs.
    """

    contender: Annotated[str, StringConstraints(pattern="^[0-9a-f]{12}$")]
    start: Count
    ceiling: Count
    seeds: Sequence[CountFromZero]
    tried: Sequence[Rung] = field(default_factory=list)

    @property
    def mark(self) -> str:
        """The value of `AUTO_EPOCHS`; searches with as much room above their start have the same."""
        return "epochs" if self.ceiling == MOST_FACTOR * self.start else f"epochs up to {self.ceiling}"

    @property
    def last(self) -> Rung | None:
        """The last trials that could be trained, whose epochs are those of the results; None if none could be."""
        return next((rung for rung in reversed(self.tried) if rung.validation is not None), None)

    @property
    def epochs(self) -> int:
        """The epochs that were found: the last that were tried, or those of the start if no trial could be trained."""
        return self.start if self.last is None else self.last.epochs

    @property
    def is_concluded(self) -> bool:
        """True if the trials with the epochs that were found are no longer improving."""
        return self.last is not None and self.last.is_improving is False

    @property
    def spent(self) -> int:
        """The epochs of all trials."""
        return sum(rung.epochs for rung in self.tried) * len(self.seeds)
