"""What a measure is: a trained network and its data in, tidy rows out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from capsbench.errors import check_choice
from capsbench.records.cell import Cell
from capsbench.records.record import Row

if TYPE_CHECKING:
    from torch import Tensor, nn

    from capsbench.data.images import Splits


@dataclass(frozen=True)
class Subject:
    """A trained network with all that a measure may need.

    ``keep`` stores tensors by name beside the record (`capsbench.records.store.Store.kept`): those of one entry a test image
    serve paired tests between cells, a few images serve pictures. What a measure keeps takes the place of what it kept before;
    bfloat16 is kept as float32. ``kept`` gives what a measure kept of this cell, by its name; nothing where it kept none.
    """

    cell: Cell
    network: nn.Module
    data: Splits
    keep: Callable[[Mapping[str, Tensor]], None]
    kept: Callable[[str], dict[str, Tensor]]


class Measure(ABC):
    """Base class of a measure. ``--measure NAME`` or ``--measure NAME:SETTING`` makes one with that setting.

    Args:
        setting: one of `settings`; each trades thoroughness for time.
    """

    version: ClassVar[int] = 1
    """Raised when a change alters what its numbers mean; numbers of an earlier version on record are then taken anew."""

    settings: ClassVar[tuple[str, ...]] = ("default",)

    cost: ClassVar[dict[str, int]] = {}
    """Setting -> about how many images can be trained on in the time that it takes; for estimates."""

    alone: ClassVar[bool] = False
    """Whether it runs in a new process with no other at work, so that nothing bleeds into it."""

    needs_weights: ClassVar[bool] = True
    """Whether its numbers depend on the weights; where not, it is taken of networks too whose weights are not there."""

    def __init__(self, setting: str | None = None) -> None:
        self.setting = setting or self.settings[0]
        check_choice("setting", self.setting, self.settings)

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        """Whether it can be taken of a cell; by default, of all that scores classes."""
        return cell.loss is not None

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot be taken on this machine, such as an optional package that is not installed, and what to do."""
        return None

    @abstractmethod
    def __call__(self, subject: Subject) -> list[Row]:
        """The rows of one trained network; it leaves the network as it was."""


class MeasureBetween(Measure):
    """Base class of a measure between the networks of a run, from each to each of the same data set, once all are trained."""

    def __call__(self, subject: Subject) -> list[Row]:
        """None: what it measures is not one network's."""
        return []

    @abstractmethod
    def between(self, source: Subject, targets: Sequence[Subject]) -> list[list[Row]]:
        """For each target its rows, which are put on its record; their ``condition`` begins with the source's cell."""
