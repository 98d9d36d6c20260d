"""The aim of a reproduction: the cells to run, and the conclusion from their records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from capsbench.planning.matrix import PlannedCell
from capsbench.records.store import Store
from capsbench.reproducing.reproduction import Reproduction
from capsbench.running.outcome import Outcome


class Aim(Protocol):
    """A published row or a record that is reproduced.

    Attributes:
        planned: the cells to run.
        remarks: lines for the user, before the run.
        suite: the suite of a row, for the note of the run.
    """

    @property
    def planned(self) -> Sequence[PlannedCell]: ...
    @property
    def remarks(self) -> Sequence[str]: ...
    @property
    def suite(self) -> str | None: ...

    def conclude(self, store: Store, outcome: Outcome) -> Reproduction:
        """Compares what is on record after the run.

        Args:
            store: the results folder of the run.
            outcome: that of the run.
        """
        ...
