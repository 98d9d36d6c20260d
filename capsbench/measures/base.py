"""What a measure is: a trained network and its data in, tidy rows out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from capsbench.cell import Cell
from capsbench.data.base import Splits
from capsbench.models.base import is_self_supervised
from capsbench.store import Row


@dataclass(frozen=True)
class Subject:
    """A trained network with all that a measure may need.

    ``keep_per_image`` stores tensors of one entry a test image beside the record, for paired tests between cells.
    """

    cell: Cell
    network: nn.Module
    data: Splits
    keep_per_image: Callable[[Mapping[str, Tensor]], None]


class Measure(ABC):
    """Base class of a measure. ``--measure NAME`` or ``--measure NAME:SETTING`` makes one with that setting.

    Args:
        setting: one of `settings`; each trades thoroughness for time.
    """

    settings: ClassVar[tuple[str, ...]] = ("default",)

    alone: ClassVar[bool] = False
    """Whether it runs in a new process with no other at work, so that nothing bleeds into it."""

    def __init__(self, setting: str | None = None) -> None:
        self.setting = setting or self.settings[0]
        if self.setting not in self.settings:
            raise ValueError(f"unknown setting {self.setting!r}; choose from {', '.join(self.settings)}")

    @classmethod
    def applies_to(cls, network: Any) -> bool:
        """Whether it can be taken of what a network's name stands for; by default, of whatever gives scores of classes."""
        return not is_self_supervised(network)

    @abstractmethod
    def __call__(self, subject: Subject) -> list[Row]:
        """The rows of one trained network; it leaves the network as it was."""
