"""Reading and writing blocks in Triton, so that Triton spreads them over threads as `passes.py` means them."""

# In Triton's language, of which the checkers know nothing; sizes have the names of the formulas.
# mypy: ignore-errors
# ruff: noqa: N803, RUF005

import triton
import triton.language as tl


@triton.jit
def at(pointer, offsets):
    """Addresses that Triton lays out over threads by their last axis, then by the one before it.

    It goes by what is contiguous, and of equals Triton 3.6 takes the first axis, later ones the last; so the hint says which.
    It also says that nothing is aligned, so that each thread reads one number at a time, wherever that is.
    """
    return tl.multiple_of(tl.max_contiguous(pointer + offsets, [1, 1, 1, 2, 4]), [1, 1, 1, 1, 1])


@triton.jit
def zeros_of_threads(BN: tl.constexpr, BJ: tl.constexpr):
    """Zeros that Triton does not know to be the same: added to offsets, they have every thread read for itself.

    They cost nothing: LLVM, which knows how large a thread's number can be, leaves them out.
    """
    i_thread = tl.arange(0, BN)[None, None, None, :, None] * BJ + tl.arange(0, BJ)[None, None, None, None, :]
    return i_thread >> 30


@triton.jit
def read(pointer, offsets, dtype: tl.constexpr):
    return tl.load(at(pointer, offsets)).to(dtype)


@triton.jit
def load(pointer, offsets, mask, dtype: tl.constexpr):
    """A block, 0 where the mask is False. Of an absent tensor the caller makes None, which Triton 3.6 cannot return."""
    return tl.load(at(pointer, offsets), mask=mask, other=0.0).to(dtype)


@triton.jit
def read_rows(pointers, stride, D: tl.constexpr, dtype: tl.constexpr):
    """D blocks, ``stride`` elements apart, as a tuple."""
    b_rows = (read(pointers, 0, dtype),)
    for d in tl.static_range(1, D):
        b_rows = b_rows + (read(pointers, d * stride, dtype),)
    return b_rows
