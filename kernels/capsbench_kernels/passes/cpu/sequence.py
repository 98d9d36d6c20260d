"""The order of the passes and updates of a routing, on all threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from capsbench_kernels.passes.cpu.setting import Setting
from capsbench_kernels.passes.cpu.steps import Item


class PartSums:
    """Three sums over all children, by stretches of children: a parent's number, and two of a parent's values or one.

    With one stretch, a pass writes them where they are wanted; with more, each stretch has its own, which `add` adds in their
    order.
    """

    def __init__(self, setting: Setting, *, second: bool) -> None:
        self._parts: list[Tensor] = []
        if setting.parts > 1:
            self._parts = [setting.numbers(setting.parts), *(setting.values(setting.parts) for _ in range(1 + second))]

    def places(self, part: int, targets: Sequence[Tensor]) -> tuple[int, int, int]:
        """Returns the addresses of three sums, of which the last may be 0, for the pass over a stretch."""
        number, first, *second = [parts[part] for parts in self._parts] or targets
        return number.data_ptr(), first.data_ptr(), second[0].data_ptr() if second else 0

    def add(self, targets: Sequence[Tensor]) -> None:
        """Writes the sums over all stretches to the targets."""
        for parts, target in zip(self._parts, targets, strict=False):
            np.add.reduce(parts.numpy(), axis=0, out=target.numpy())


class Step(NamedTuple):
    """A pass and the update after it.

    Attributes:
        sweep: runs the pass on an item, given also its parts of groups and units, and whether the pass is repeated.
        add: adds the sums of the parts.
        update: updates the parents of an item's units, given whether the pass was repeated; returns whether it has to be.
        restore: gives the parents of an item's units what they had before the update, for a pass that is repeated.
    """

    sweep: Callable[[Item, int, int, bool], None]
    add: Callable[[], None]
    update: Callable[[Item, bool], bool]
    restore: Callable[[Item], object] = lambda item: None


def run_steps(
    setting: Setting, start: Callable[[Item], object], steps: Sequence[Step], finish: Callable[[Item, int], object]
) -> None:
    """Runs the steps in their order, after ``start``, an update; and then ``finish`` on each item and its part of units."""
    if setting.parts == 1:

        def route_item(item: Item, part: int, unit_part: int) -> None:
            setting.read_item(item)
            start(item)
            for step in steps:
                step.sweep(item, part, unit_part, False)
                if step.update(item, False):
                    step.restore(item)
                    step.sweep(item, part, unit_part, True)
                    step.update(item, True)
            finish(item, unit_part)

        setting.run(route_item)
        return
    setting.run(lambda item, part, unit_part: setting.read_item(item))
    setting.run_units(start)
    for step in steps:
        if _run_step(setting, step, repeated=False):
            setting.run_units(step.restore)
            _run_step(setting, step, repeated=True)
    setting.run(lambda item, part, unit_part: finish(item, unit_part))


def _run_step(setting: Setting, step: Step, repeated: bool) -> bool:
    """Runs a step on all items; returns whether its pass has to be repeated."""
    lost: list[bool] = []
    setting.run(lambda item, part, unit_part: step.sweep(item, part, unit_part, repeated))
    step.add()
    setting.run_units(lambda item: lost.append(step.update(item, repeated)))
    return any(lost)
