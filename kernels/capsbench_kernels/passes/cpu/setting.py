"""A layer in the layout of the CPU kernels: the tensors that all passes of a routing use, and the cuts of a pass."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from capsbench_kernels.passes.cpu.cores import QUAD, ROWS
from capsbench_kernels.passes.cpu.lanes import WIDTH
from capsbench_kernels.passes.cpu.layout import Layer, copy_children, copy_weights
from capsbench_kernels.passes.cpu.memory import Memory
from capsbench_kernels.passes.cpu.passes import spread_item, sweep_item
from capsbench_kernels.passes.cpu.steps import (
    Item,
    Sums,
    Tensors,
    Upstream,
    Votes,
    count_block_units,
    lay_out_scratch,
)
from capsbench_kernels.passes.cpu.threads import Plan, cut_evenly, cut_pass, run_items
from capsbench_kernels.passes.types import Wanted, accumulation_dtype

VALUES_A_PART = 1 << 14
"""Values of parents that one thread updates between passes, before another one is asked to help."""


NO_UPSTREAM = Upstream(0, 0, 0, 0)


class Setting:
    """The poses, weights and offset of a layer, children last.

    ``parts`` is the number of stretches of children. With one part, a problem belongs to one item in all passes of a routing;
    with more, the sums of the parts are added after each pass.
    """

    def __init__(self, poses: Tensor, weights: Tensor, offset: Tensor | None) -> None:
        problems, children, rows, depth = poses.shape
        _, parents, _, columns = weights.shape
        self.layer = layer = Layer.of_sizes(problems, children, parents, rows, depth, columns)
        self.plan = cut_pass(layer)
        self.memory = memory = Memory(accumulation_dtype(poses.dtype))
        self.parts, self.unit_parts = len(self.plan.groups), len(self.plan.units)
        self._places, self._block = lay_out_scratch(layer), count_block_units(layer)
        self._reserved = self._kept = 0
        self.item_groups, self.item_units = (max(last - first for first, last in cuts) for cuts in self.plan[1:])
        self._poses = self.reserve_tile(layer.depth)
        self._weights = memory.empty(*self.weight_shape())
        self._offset_shared = offset is not None and offset.shape[0] == 1
        self._offset = -1
        self._given = memory.address(poses), memory.address(offset)
        if offset is not None and not self._offset_shared:
            self._offset = self.reserve_tile(layer.quads * QUAD)
        elif offset is not None:
            # An offset of all problems is that of a layer of one problem.
            own, padded = layer._replace(problems=1, units=1), layer.quads * QUAD
            self._offset = memory.empty(layer.groups, layer.pairs * ROWS, padded, WIDTH).data_ptr()
            copy_children(own, self._given[1], self._offset, columns, padded, False, memory.zero, 0, layer.groups, 0, 1)
        w = memory.address(weights)
        self._run_groups(lambda item: copy_weights(layer, w, self._weights.data_ptr(), 0, memory.zero, *item[:2]))

    def reserve(self, *shape: int) -> int:
        """Returns a new place in the memory of an item, for as many numbers; before the first `run`."""
        place = self._reserved
        self._reserved += math.ceil(math.prod(shape) / WIDTH) * WIDTH
        return place

    def reserve_tile(self, columns: int) -> int:
        """Returns a new place for the children of an item."""
        return self.reserve(self.item_groups, self.item_units * self.layer.pairs * ROWS, columns, WIDTH)

    def weight_shape(self) -> tuple[int, ...]:
        """Returns the shape of the matrices in the layout of the kernels."""
        layer = self.layer
        return layer.groups, layer.parents, layer.quads, layer.depth, QUAD, WIDTH

    def read_item(self, item: Item) -> None:
        """Copies what belongs to an item into the layout of the kernels; once an item, before its first pass."""
        poses, offset = self._given
        self.copy_tile(item, self._poses, poses, self.layer.depth)
        if self._offset >= 0 and not self._offset_shared:
            self.copy_tile(item, self._offset, offset, self.layer.columns, self.layer.quads * QUAD)

    def copy_tile(
        self, item: Item, place: int, numbers: int, columns: int, padded: int = 0, *, back: bool = False
    ) -> None:
        """Copies the numbers ``[N, I, R, columns]`` at an address to a tile of an item, or back."""
        copy_children(
            self.layer, numbers, self.find(item, place), columns, padded or columns, back, self.memory.zero, *item[:4]
        )

    def find(self, item: Item, place: int) -> int:
        """Returns the address of a place in the memory of an item."""
        return item.memory + place * self.memory.dtype.itemsize

    def tensors(
        self, *, activations: int = 0, normaliser: int = 0, bias: int = 0, direction: int = 0, mean: int = 0,
        steepness: int = 0, centre: int = 0, leaky: bool = False,
    ) -> Tensors:  # fmt: skip
        """Returns the tensors of a pass, with the addresses of those that vary."""
        return Tensors(
            self._poses, self._weights.data_ptr(), self._offset, self._offset_shared, activations, normaliser, bias,
            direction, mean, steepness, centre, leaky,
        )  # fmt: skip

    def sweep(self, item: Item, tensors: Tensors, sums: Sums, upstream: Upstream = NO_UPSTREAM) -> None:
        """Runs a pass on an item, forward, or backward with the upstream gradients."""
        sweep_item(
            self.layer, tensors, upstream, sums, self._places, item, self.plan.tile, self._block, self.memory.zero
        )

    def spread(self, item: Item, tensors: Tensors, upstream: Upstream, votes: Votes) -> None:
        """Runs the kernel of the gradients of votes on an item."""
        spread_item(
            self.layer, tensors, upstream, votes, self._places, item, self.plan.tile, self._block, self.memory.zero
        )

    def run(self, work: Callable[[Item, int, int], object]) -> None:
        """Calls ``work`` with each item of a pass and the indices of its stretches of groups and of units.

        With one part, an item has its memory for the time of the call. With more, it has the same memory in all calls.
        """
        if self.parts > 1 and not self._kept:
            self._kept = self.memory.empty(self.parts * self.unit_parts, self._reserved).data_ptr()
        run_items(self.layer, self.plan, self.memory, work, self._reserved, self._kept)

    def run_units(self, work: Callable[[Item], object]) -> None:
        """Calls ``work`` with stretches of units, for an update of their parents."""
        layer = self.layer
        parts = max(1, min(layer.units, layer.parent_values // VALUES_A_PART))
        plan = Plan(1, [(0, layer.groups)], cut_evenly(layer.units, parts))
        run_items(layer, plan, self.memory, lambda item, part, unit_part: work(item))

    def _run_groups(self, work: Callable[[Item], object]) -> None:
        layer = self.layer
        parts = min(layer.groups, self.parts * self.unit_parts)
        plan = Plan(1, cut_evenly(layer.groups, parts), [(0, 1)])
        run_items(layer, plan, self.memory, lambda item, part, unit_part: work(item))

    def numbers(self, *leading: int) -> Tensor:
        """Allocates a parent's number, ``[..., problems, J]``."""
        return self.memory.empty(*leading, self.layer.padded_problems, self.layer.parents)

    def values(self, *leading: int) -> Tensor:
        """Allocates a parent's values."""
        allocate = self.memory.zeros if self.layer.has_padding else self.memory.empty
        return allocate(*leading, self.layer.parent_values)

    def pad_problems(self, numbers: Tensor | None) -> Tensor | None:
        """Returns ``[N, J]``, filled up to whole units."""
        missing = self.layer.padded_problems - self.layer.problems
        return numbers if numbers is None or not missing else pad(numbers, (0, 0, 0, missing))

    def to_units(self, values: Tensor | None) -> Tensor | None:
        """Returns ``[N, J, R*E]`` as a parent's values."""
        if values is None:
            return None
        layer = self.layer
        rows = values.unflatten(2, (layer.rows, layer.columns))
        if layer.unit_problems > 1:
            rows = rows.permute(2, 1, 0, 3)  # the two rows of a pair are problems: [1, J, N, E]
        rows = pad(rows, (0, -layer.columns % QUAD, 0, -rows.shape[2] % ROWS))
        blocks = rows.unflatten(3, (layer.quads, QUAD)).unflatten(
            2, (-1, ROWS)
        )  # [., J, pairs or units, ROWS, E/4, QUAD]
        order = (2, 1, 0, 4, 3, 5) if layer.unit_problems > 1 else (0, 1, 2, 4, 3, 5)
        return blocks.permute(order).contiguous()

    def from_units(self, values: Tensor) -> Tensor:
        """Returns a parent's values as ``[N, J, R*E]``, not a view: it may be changed in place."""
        layer = self.layer
        blocks = values.view(layer.units, layer.parents, layer.pairs, layer.quads, ROWS, QUAD)
        if layer.unit_problems > 1:
            rows = blocks.permute(0, 4, 1, 2, 3, 5).flatten(0, 1)[: layer.problems].flatten(3)  # [N, J, 1, padded E]
        else:
            rows = blocks.permute(0, 1, 2, 4, 3, 5).flatten(4).flatten(2, 3)  # [N, J, padded R, padded E]
        result = torch.empty(
            layer.problems, layer.parents, layer.rows * layer.columns, dtype=values.dtype, device="cpu"
        )
        result.view(layer.problems, layer.parents, layer.rows, layer.columns).copy_(
            rows[:, :, : layer.rows, : layer.columns]
        )
        return result


class ChildGradients:
    """The gradients of poses, weights, offset and activations, and what items keep of each pass until they write these."""

    def __init__(
        self, setting: Setting, passes: int, *, wanted: Wanted, activations_wanted: bool, constant_shares: bool
    ) -> None:
        self._setting, self._constant_shares, layer, memory = setting, constant_shares, setting.layer, setting.memory
        self._tile = setting.reserve_tile(layer.depth)
        self._offset_tile = setting.reserve_tile(layer.quads * QUAD) if wanted.offset else -1
        tile = setting.plan.tile
        shape = (
            math.ceil(setting.item_groups / tile), setting.item_units * layer.unit_problems, layer.parents, tile * WIDTH,
        )  # fmt: skip
        self._rows = [(setting.reserve(*shape), setting.reserve(*shape)) for _ in range(passes)]
        children = layer.problems, layer.children
        self.poses = memory.empty(*children, layer.rows, layer.depth)
        self.weights: Tensor | None = None
        self._of_matrices = [0] * setting.unit_parts
        if wanted.weights:
            self.weights = memory.empty(layer.children, layer.parents, layer.depth, layer.columns)
            matrices = memory.empty(setting.unit_parts, *setting.weight_shape())
            self._of_matrices = [part.data_ptr() for part in matrices]
        self.offset = memory.empty(*children, layer.rows, layer.columns) if wanted.offset else None
        self.activations = memory.empty(*children) if activations_wanted else None
        self._of_activations = memory.address(self.activations)

    def sums(self, index: int, mass: int, first: int, second: int, *, normaliser: int = 0, fresh: bool) -> Sums:
        """Returns what one of the passes writes; ``fresh`` in the first one that runs."""
        return Sums(
            mass, first, second, 0, *self._rows[index], self._of_activations, normaliser, fresh, self._constant_shares
        )

    def votes(
        self, unit_part: int, *, about_mean: bool, equal_share: float = 0.0, equal_centre: int = 0,
        equal_sums: tuple[int, int, int] = (0, 0, 0),
    ) -> Votes:  # fmt: skip
        """Returns what the kernel of the gradients of votes reads and writes."""
        shares, slopes = self._rows[0] if self._rows else (0, 0)
        distance = self._rows[1][0] - shares if len(self._rows) > 1 else 0
        return Votes(
            len(self._rows), shares, slopes, distance, about_mean, equal_share, equal_centre, *equal_sums,
            self._tile, self._of_matrices[unit_part], self._offset_tile, self._of_activations, not self._rows,
        )  # fmt: skip

    def write_item(self, item: Item) -> None:
        """Writes the gradients of an item's poses and offset, after `Setting.spread`."""
        setting, layer = self._setting, self._setting.layer
        setting.copy_tile(item, self._tile, self.poses.data_ptr(), layer.depth, back=True)
        if self.offset is not None:
            target, padded = self.offset.data_ptr(), layer.quads * QUAD
            setting.copy_tile(item, self._offset_tile, target, layer.columns, padded, back=True)

    def write_weights(self) -> None:
        """Writes the gradient of the weights, if wanted, after the last pass: the sum over the stretches of problems."""
        if self.weights is None:
            return
        setting, places = self._setting, (self.weights.data_ptr(), self._of_matrices[0], self._setting.unit_parts)
        setting._run_groups(lambda item: copy_weights(setting.layer, *places, setting.memory.zero, *item[:2]))
