"""Memory for the CPU kernels, allocated by torch, so that its profiler sees it."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

KEPT = 31 << 20
"""Bytes of the largest block that `keep_freed_memory` makes the C library keep. It accepts no more than 32 MiB."""


class Memory:
    """Allocates tensors of one dtype, and holds them for as long as kernels have their addresses."""

    def __init__(self, dtype: torch.dtype) -> None:
        keep_freed_memory()
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


@functools.cache
def keep_freed_memory() -> None:
    """Lets the C library keep freed blocks of up to `KEPT` bytes for the next ones, in the whole process; once.

    At first, glibc returns freed memory to the system beyond 128 KiB. The system then clears every page again when it is next
    used: 10,000 pages, and a fifth of the time, in each training step of matrix capsules. When a program frees a larger block,
    glibc from then on keeps blocks of that size, and up to twice as much in all (mallopt(3), M_MMAP_THRESHOLD). That is what
    happens here, with a block that is never touched. A user's own setting (MALLOC_TRIM_THRESHOLD_ and others) stays in force.
    """
    np.empty(KEPT, dtype=np.uint8)
