"""The course of a training, as far as it is known at the end of an epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from capsbench.records.cell import Cell


class Validation(NamedTuple):
    """The validation result of an epoch: ``accuracy`` (fraction), or the ``loss`` of a self-supervised network."""

    metric: str
    value: float

    @property
    def merit(self) -> float:
        """The value, negated if lower is better."""
        return -self.value if self.metric == "loss" else self.value

    def __str__(self) -> str:
        return f"{self.metric} {self.value:.4g}" if self.metric == "loss" else f"{self.metric} {self.value:.1%}"


@dataclass
class Course:
    """The epochs of a training so far.

    Attributes:
        history: one entry an epoch.
        validation: the latest validation result, None before the first.
        best_merit, best_epoch, best_state: of the best epoch so far, noted only if the training has a patience.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    validation: Validation | None = None
    best_merit: float = -math.inf
    best_epoch: int = 0
    best_state: dict[str, Tensor] | None = None

    @property
    def epoch(self) -> int:
        """The number of epochs so far."""
        return len(self.history)

    @property
    def seconds(self) -> float:
        """The duration of these epochs."""
        return self.history[-1]["seconds"] if self.history else 0.0

    def is_over(self, cell: Cell) -> bool:
        """Returns true if the training of a cell ends here.

        ``stop_at`` ends it at a target, ``patience`` after that many epochs without an improvement.
        """
        if cell.stop_at and self.validation is not None and self.validation.merit >= cell.stop_at:
            return True
        if cell.patience and self.epoch - self.best_epoch >= cell.patience:
            return True
        return self.epoch >= cell.epochs
