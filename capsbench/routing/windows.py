"""The windows of a convolutional capsule layer: which capsules each routing problem has as children, and which it shares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """K x K windows on a grid of capsules, every ``stride``; each is a routing problem of K*K*types children.

    Args:
        grid: (batch, height, width) of the layer below.
        kernel: K.
        stride: from one window to the next.
    """

    grid: tuple[int, int, int]
    kernel: int
    stride: int

    def split(self, capsules: Tensor) -> Tensor:
        """``[B, H, W, types, values]`` to ``[B, H', W', K*K*types, values]``, children ordered row, column, type."""
        windows = capsules.unfold(1, self.kernel, self.stride).unfold(2, self.kernel, self.stride)
        return windows.permute(0, 1, 2, 5, 6, 3, 4).flatten(3, 5)

    def log_sum_exp(self, children: Tensor) -> Tensor:
        """``log sum exp`` over all the windows that see a child, of one number a window and child.

        With the log-sum-exp of each child over one window's parents it gives that over all parents that see the child
        (Gritzman 2019: where a child stands in several windows, they compete for it).

        Args:
            children: ``[B*H'*W', K*K*types]``, as `split` orders them; the same shape is returned.
        """
        batch, height, width = self.grid
        kernel, stride = self.kernel, self.stride
        down, across = (height - kernel) // stride + 1, (width - kernel) // stride + 1
        by_place = children.view(batch, down, across, kernel, kernel, -1)
        # Each place in the window sees the grid shifted; where it does not reach, its number is that of no parent at all.
        seen = children.new_full(
            (kernel * kernel, batch, height, width, by_place.shape[-1]), torch.finfo(children.dtype).min
        )
        for row in range(kernel):
            for column in range(kernel):
                rows = slice(row, row + stride * (down - 1) + 1, stride)
                columns = slice(column, column + stride * (across - 1) + 1, stride)
                seen[row * kernel + column, :, rows, columns] = by_place[:, :, :, row, column]
        return self.split(seen.logsumexp(dim=0).unsqueeze(-1)).reshape(children.shape)
