"""The windows of a convolutional capsule layer: the children of each routing problem, and children shared by problems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """K x K windows over a grid of capsules. Each window is one routing problem with K*K*types children.

    Args:
        grid: (batch, height, width) of the layer below.
        kernel: the side K of a window.
        stride: the distance from one window to the next.
    """

    grid: tuple[int, int, int]
    kernel: int
    stride: int

    def split(self, capsules: Tensor) -> Tensor:
        """Splits ``[B, H, W, types, values]`` into ``[B, H', W', K*K*types, values]``; children are ordered row, column, type."""
        if torch.compiler.is_compiling():  # a compiler makes a gradient of its own, and traces no function with a jvp
            return _split(capsules, self.kernel, self.stride)
        children: Tensor = _Split.apply(capsules, self.kernel, self.stride)
        return children

    def log_sum_exp(self, children: Tensor) -> Tensor:
        """Reduces one number per window and child by ``log sum exp`` over all windows that contain the child.

        Applied to each child's log-sum-exp over the parents of one window, it returns the log-sum-exp over all parents that see
        the child (Gritzman 2019: overlapping windows compete for their common children).

        Args:
            children: ``[B*H'*W', K*K*types]``, in the order of `split`; the result has the same shape.
        """
        batch, height, width = self.grid
        kernel, stride = self.kernel, self.stride
        down, across = (height - kernel) // stride + 1, (width - kernel) // stride + 1
        by_place = children.view(batch, down, across, kernel, kernel, -1)
        # A child at place (row, column) of its window is at that offset on the grid. One copy of the grid per place collects the
        # numbers. Grid positions that no window reaches keep the lowest number, which adds exp(-huge) = 0 to the sum. The number
        # is finite, because -inf in every copy would give NaN gradients.
        grids = children.new_full(
            (kernel * kernel, batch, height, width, by_place.shape[-1]), torch.finfo(children.dtype).min
        )
        for row in range(kernel):
            for column in range(kernel):
                rows = slice(row, row + stride * (down - 1) + 1, stride)
                columns = slice(column, column + stride * (across - 1) + 1, stride)
                grids[row * kernel + column, :, rows, columns] = by_place[:, :, :, row, column]
        # The sum over places is taken on the grid and then handed back to every window that contains the position.
        return self.split(grids.logsumexp(dim=0).unsqueeze(-1)).reshape(children.shape)


def _split(capsules: Tensor, kernel: int, stride: int) -> Tensor:
    windows = capsules.unfold(1, kernel, stride).unfold(2, kernel, stride)
    # unfold appends the rows and the columns of a window as the last two dimensions; the permutation moves them forward.
    return windows.permute(0, 1, 2, 5, 6, 3, 4).flatten(3, 5)


class _Split(torch.autograd.Function):
    """`Windows.split`, with a gradient that adds windows as whole slices of the grid.

    The gradient of `torch.Tensor.unfold` adds one number at a time, in the same order, which takes ten times as long.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(capsules: Tensor, kernel: int, stride: int) -> Tensor:
        return _split(capsules, kernel, stride)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        capsules, context.kernel, context.stride = inputs
        context.grid = capsules.shape[1:3]

    @staticmethod
    def jvp(context: Any, tangent: Tensor, *_: None) -> Tensor:
        return _split(tangent, context.kernel, context.stride)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (height, width), kernel, stride = context.grid, context.kernel, context.stride
        batch, down, across, children, values = gradients[0].shape
        windows = gradients[0].view(batch, down, across, kernel, kernel, children // kernel**2, values)
        # First along a row, then down a column; the last place of a window first, as unfold does.
        rows = windows.new_zeros(batch, down, width, kernel, windows.shape[5], values)
        for place in reversed(range(kernel)):
            rows[:, :, place : place + stride * (across - 1) + 1 : stride] += windows[:, :, :, :, place]
        grid = windows.new_zeros(batch, height, width, *rows.shape[4:])
        for place in reversed(range(kernel)):
            grid[:, place : place + stride * (down - 1) + 1 : stride] += rows[:, :, :, place]
        return grid, None, None
