"""Memory for the CPU kernels, allocated by torch, so that its profiler sees it."""

from __future__ import annotations

import torch
from torch import Tensor


class Memory:
    """Allocates tensors of one dtype, and holds them for as long as kernels have their addresses."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.zero = torch.zeros(1, dtype=dtype, device="cpu").numpy()[0]  # tells compiled code the dtype
        self._held: list[Tensor] = []

    def empty(self, *shape: int) -> Tensor:
        tensor = torch.empty(shape, dtype=self.dtype, device="cpu")
        self._held.append(tensor)
        return tensor

    def zeros(self, *shape: int) -> Tensor:
        # Not torch.zeros, which starts OpenMP's threads for a large tensor.
        tensor = self.empty(*shape)
        tensor.numpy().fill(0)
        return tensor

    def address(self, tensor: Tensor | None) -> int:
        """Returns the address of a contiguous tensor in the dtype of the memory, converted if it has another; 0 for None."""
        if tensor is None:
            return 0
        if tensor.dtype != self.dtype or not tensor.is_contiguous():
            tensor = tensor.to(self.dtype).contiguous()
        self._held.append(tensor)
        return tensor.data_ptr()
