"""Reads and writes blocks in Triton with hints, so that Triton spreads them over threads as `passes.py` intends."""

# The checkers do not know Triton's language; sizes have the names of the formulas.
# mypy: ignore-errors
# ruff: noqa: N803, RUF005

import triton
import triton.language as tl


@triton.jit
def address_of(pointer, offsets):
    """Returns addresses that Triton lays out over threads by their last axis, then by the one before it.

    Triton orders the axes by how many of their addresses are contiguous. Of equal ones Triton 3.6 takes the first axis, later
    versions the last, so the hint ranks them. It also declares nothing aligned, so that a thread reads one number at a time.
    """
    return tl.multiple_of(tl.max_contiguous(pointer + offsets, [1, 1, 1, 2, 4]), [1, 1, 1, 1, 1])


@triton.jit
def zeros_of_threads(BN: tl.constexpr, BJ: tl.constexpr):
    """Returns zeros that Triton does not know to be equal. With them in its offsets, every thread reads for itself.

    They cost nothing: LLVM knows the range of a thread's id, and removes them.
    """
    i_thread = tl.arange(0, BN)[None, None, None, :, None] * BJ + tl.arange(0, BJ)[None, None, None, None, :]
    return i_thread >> 30


@triton.jit
def read_block(pointer, offsets, dtype: tl.constexpr):
    """Returns a block, every address of which is valid: offsets are clamped, not masked."""
    return tl.load(address_of(pointer, offsets)).to(dtype)


@triton.jit
def load_block(pointer, offsets, mask, dtype: tl.constexpr):
    """Returns a block, 0 where the mask is False. The caller handles an absent tensor: Triton 3.6 cannot return None."""
    return tl.load(address_of(pointer, offsets), mask=mask, other=0.0).to(dtype)


@triton.jit
def read_rows(p_rows, stride, D: tl.constexpr, dtype: tl.constexpr):
    """Returns D blocks, ``stride`` elements apart, as a tuple."""
    b_rows = (read_block(p_rows, 0, dtype),)
    for d in tl.static_range(1, D):
        b_rows = b_rows + (read_block(p_rows, d * stride, dtype),)
    return b_rows


@triton.jit
def store_block(pointer, offsets, b_values, mask):
    """Writes a block where the mask is True."""
    tl.store(address_of(pointer, offsets), b_values, mask=mask)
