"""A layer in the layout of the CPU kernels: the tensors that all passes of a routing use, and the cuts of a pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from capsbench_kernels.passes.cpu.cores import QUAD, ROWS
from capsbench_kernels.passes.cpu.lanes import WIDTH
from capsbench_kernels.passes.cpu.layout import Layer, read_children, read_weights, write_children, write_weights
from capsbench_kernels.passes.cpu.memory import Memory
from capsbench_kernels.passes.cpu.passes import backward_item, forward_item
from capsbench_kernels.passes.cpu.steps import (
    Gradients,
    Item,
    Sums,
    Tensors,
    Upstream,
    count_block_units,
    lay_out_scratch,
)
from capsbench_kernels.passes.cpu.threads import Plan, cut_evenly, cut_pass, run_items
from capsbench_kernels.passes.types import accumulation_dtype

VALUES_A_PART = 1 << 14
"""Values of parents that one thread updates between passes, before another one is asked to help."""


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
        self._poses = self._make_tile(layer.units, layer.depth)
        self._weights = memory.empty(*self._weight_shape())
        self._offset_shared = offset is not None and offset.shape[0] == 1
        self._offset: Tensor | None = None
        self._given = memory.address(poses), memory.address(offset)
        if offset is not None:
            # An offset of all problems is that of a layer of one problem.
            own = layer._replace(problems=1, units=1) if self._offset_shared else layer
            self._offset = self._make_tile(own.units, layer.quads * QUAD)
            if self._offset_shared:
                self._read(own, self._given[1], self._offset, columns, (0, layer.groups, 0, 1))
        w = memory.address(weights)
        self._run_groups(lambda item: read_weights(layer, w, self._weights.data_ptr(), memory.zero, *item[:2]))

    def _make_tile(self, units: int, columns: int) -> Tensor:
        return self.memory.empty(self.layer.groups, units * self.layer.pairs * ROWS, columns, WIDTH)

    def _weight_shape(self) -> tuple[int, ...]:
        layer = self.layer
        return layer.groups, layer.parents, layer.quads, layer.depth, QUAD, WIDTH

    def _read(self, layer: Layer, source: int, tile: Tensor, columns: int, ranges: tuple[int, ...]) -> None:
        read_children(layer, source, tile.data_ptr(), columns, tile.shape[2], self.memory.zero, *ranges)

    def read_item(self, item: Item) -> None:
        """Copies what belongs to an item into the layout of the kernels; once an item, before its first pass."""
        self._read(self.layer, self._given[0], self._poses, self.layer.depth, item[:4])
        if self._offset is not None and not self._offset_shared:
            self._read(self.layer, self._given[1], self._offset, self.layer.columns, item[:4])

    def tensors(
        self, *, activations: int = 0, normaliser: int = 0, bias: int = 0, direction: int = 0, mean: int = 0,
        steepness: int = 0, centre: int = 0, leaky: bool = False,
    ) -> Tensors:  # fmt: skip
        """Returns the tensors of a pass, with the addresses of those that vary."""
        offset = 0 if self._offset is None else self._offset.data_ptr()
        return Tensors(
            self._poses.data_ptr(), self._weights.data_ptr(), offset, self._offset_shared, activations, normaliser, bias,
            direction, mean, steepness, centre, leaky,
        )  # fmt: skip

    def forward(self, item: Item, tensors: Tensors, sums: Sums) -> None:
        """Runs the forward kernel on an item."""
        forward_item(self.layer, tensors, sums, self._places, item, self.plan.tile, self._block, self.memory.zero)

    def backward(self, item: Item, tensors: Tensors, upstream: Upstream, gradients: Gradients) -> None:
        """Runs the backward kernel on an item."""
        backward_item(
            self.layer, tensors, upstream, gradients, self._places, item, self.plan.tile, self._block, self.memory.zero
        )

    def run(self, work: Callable[[Item, int, int], object]) -> None:
        """Calls ``work`` with each item of a pass and the indices of its stretches of groups and of units."""
        run_items(self.layer, self.plan, self.memory, work)

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
    """The gradients of poses, weights, offset and activations, which the passes of a routing add to."""

    def __init__(self, setting: Setting, *, offset_wanted: bool, activations_wanted: bool) -> None:
        self._setting, layer, memory = setting, setting.layer, setting.memory
        self._tiles = setting._make_tile(layer.units, layer.depth)
        self._matrices = memory.empty(setting.unit_parts, *setting._weight_shape())
        self._offset_tiles = setting._make_tile(layer.units, layer.quads * QUAD) if offset_wanted else None
        children = layer.problems, layer.children
        self.poses = memory.empty(*children, layer.rows, layer.depth)
        self.weights = memory.empty(layer.children, layer.parents, layer.depth, layer.columns)
        self.offset = memory.empty(*children, layer.rows, layer.columns) if offset_wanted else None
        self.activations = memory.empty(*children) if activations_wanted else None

    def addresses(
        self, unit_part: int, slopes: int, slopes_first: int, slopes_second: int, *, normaliser: int = 0, fresh: bool,
        constant_shares: bool,
    ) -> Gradients:  # fmt: skip
        """Returns what the backward kernel writes to; ``fresh`` in the first pass that it runs."""
        return Gradients(
            self._tiles.data_ptr(), self._matrices[unit_part].data_ptr(),
            0 if self._offset_tiles is None else self._offset_tiles.data_ptr(),
            0 if self.activations is None else self.activations.data_ptr(),
            normaliser, slopes, slopes_first, slopes_second, fresh, constant_shares,
        )  # fmt: skip

    def write_item(self, item: Item) -> None:
        """Writes the gradients of an item's poses and offset, after its last pass."""
        layer, zero = self._setting.layer, self._setting.memory.zero
        for tile, target, columns in (
            (self._tiles, self.poses, layer.depth), (self._offset_tiles, self.offset, layer.columns)
        ):  # fmt: skip
            if tile is not None and target is not None:
                write_children(layer, tile.data_ptr(), target.data_ptr(), columns, tile.shape[2], zero, *item[:4])

    def write_weights(self) -> None:
        """Writes the gradient of the weights, after the last pass of all items: the sum over the stretches of problems."""
        setting, places = self._setting, (self._matrices.data_ptr(), self._setting.unit_parts, self.weights.data_ptr())
        setting._run_groups(lambda item: write_weights(setting.layer, *places, setting.memory.zero, *item[:2]))
