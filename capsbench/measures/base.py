"""The base classes of measures: a trained network and its data in, tidy rows out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from capsbench.errors import check_choice
from capsbench.records.cell import Cell
from capsbench.records.record import Row

if TYPE_CHECKING:
    from torch import Tensor, nn

    from capsbench.data.images import Splits
    from capsbench.measures.spec import MeasureSpec


def _find_data_folder() -> Path:
    from capsbench.data.base import data_folder  # imports NumPy, which the command line does without

    return data_folder()


@dataclass(frozen=True)
class Subject:
    """A trained network with all that a measure may need.

    ``keep`` stores tensors by name beside the record (`capsbench.records.store.Store.kept`): those of one entry a test image
    serve paired tests between cells, a few images serve pictures. What a measure keeps replaces what it kept before; bfloat16
    is kept as float32. ``kept`` returns the tensors that a measure kept of this cell, by its name; empty if it kept none.
    ``folder`` is the data folder, for measures that read further data sets (`Measure.list_datasets`).
    """

    cell: Cell
    network: nn.Module
    data: Splits
    keep: Callable[[Mapping[str, Tensor]], None]
    kept: Callable[[str], dict[str, Tensor]]
    folder: Path = field(default_factory=_find_data_folder)


class Measure(ABC):
    """Base class of a measure. ``--measure NAME`` or ``--measure NAME:SETTING`` makes one with that setting.

    Args:
        setting: one of `settings`; each trades thoroughness for time.
    """

    spec: ClassVar[MeasureSpec | None] = None
    """The declarations of its numbers: their directions, its lines in "who won", and what the gate judges. Without them a
    user's own measure has a table and nothing else."""

    version: ClassVar[int] = 1
    """Raised when a change alters what its numbers mean; numbers of an earlier version on record are then taken anew."""

    settings: ClassVar[tuple[str, ...]] = ("default",)

    cost: ClassVar[dict[str, int]] = {}
    """Setting -> the number of images that training could process in the same time; for estimates."""

    alone: ClassVar[bool] = False
    """True if it runs in a new process while no other process works, so that nothing disturbs its times."""

    any_number: ClassVar[bool] = False
    """True if it can be taken of a classifier of images that show any number of classes (`capsbench.data.ANY_NUMBER`)."""

    needs_weights: ClassVar[bool] = True
    """False if its numbers do not depend on the weights; it is then taken even if the weights are absent."""

    def __init__(self, setting: str | None = None) -> None:
        self.setting = setting or self.settings[0]
        check_choice("setting", self.setting, self.settings)

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        """Returns true if it can be taken of a cell; by default, of every network that scores classes."""
        return cell.loss is not None

    @classmethod
    def list_datasets(cls, cell: Cell) -> tuple[str, ...]:
        """Returns the data sets that it reads beside the cell's own. Their files, if present, go where the cell runs."""
        return ()

    @classmethod
    def missing(cls) -> str | None:
        """Returns why it cannot be taken on this machine and what to do, such as to install a package; None if it can."""
        return None

    @abstractmethod
    def __call__(self, subject: Subject) -> list[Row]:
        """Returns the rows of one trained network, which stays as it was."""


class MeasureBetween(Measure):
    """Base class of a measure from each network of a run to each of the same data set, taken when all are trained."""

    def __call__(self, subject: Subject) -> list[Row]:
        """Returns no rows, because its numbers are not those of one network."""
        return []

    @abstractmethod
    def between(self, source: Subject, targets: Sequence[Subject]) -> list[list[Row]]:
        """Returns the rows of each target, for the target's record; their ``condition`` is the source's cell."""
