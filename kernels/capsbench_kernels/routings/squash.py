"""The squash, in the variants of the papers. It makes the length of a vector express how present a capsule is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from capsbench_kernels.errors import ArgumentError
from capsbench_kernels.passes.types import accumulation_dtype

SQUASHES = ("sabour", "efficient", "unit")
"""The variants of `squash`."""

SHORTEST = 1e-6
"""Smallest length that ``unit`` divides a vector by."""

SERIES = 1e-3
"""Length below which ``efficient`` uses its series, whose omitted terms are below 1e-17 there."""


def squash(vectors: Tensor, dim: int = -1, variant: str = "sabour") -> Tensor:
    """Changes the length of vectors and keeps their direction; derivatives of every order are finite, at 0 too.

    With ``s`` a vector, the variants give

    - ``sabour``: ``s |s| / (1 + |s|^2)``, a length below 1 (Sabour 2017, equation 1);
    - ``efficient``: ``(1 - exp(-|s|)) s / |s|``, a length below 1 that does not vanish as fast for short vectors (Mazzia 2021,
      equation 3); its derivative at 0 is 1;
    - ``unit``: ``s / max(|s|, 1e-6)``, a length of 1: direction alone. A direction has no derivative at 0, and
      derivatives nearby grow without bound. So vectors shorter than 1e-6 stay proportionally short, with a derivative of 1e6.

    float16 and bfloat16 vectors are squashed in float32, since the square of a length of 256 exceeds float16. The result has the
    dtype of the vectors.
    """
    wide = vectors.to(accumulation_dtype(vectors.dtype))
    length = vector_length(wide, dim=dim, keepdim=True)
    if variant == "sabour":
        factor = length / (1 + length.square())
    elif variant == "efficient":
        factor = _efficient_factor(length)
    elif variant == "unit":
        return (wide / length.clamp_min(SHORTEST)).to(vectors.dtype)
    else:
        raise ArgumentError("squash", ", ".join(SQUASHES), variant)
    return (wide * factor).to(vectors.dtype)


def _efficient_factor(length: Tensor) -> Tensor:
    """Returns ``(1 - exp(-l)) / l``, by its series where derivatives of the quotient would be differences of large numbers."""
    short = length < SERIES
    series = 1 - length / 2 * (1 - length / 3 * (1 - length / 4 * (1 - length / 5)))
    # The unselected branch must not divide by 0 either: its NaN would reach the gradient.
    long = length.masked_fill(short, 1)
    return torch.where(short, series, -torch.expm1(-long) / long)


def vector_length(vectors: Tensor, dim: int = -1, keepdim: bool = False) -> Tensor:
    """Returns the Euclidean length of vectors.

    Every derivative at 0 is 0; the second one of `torch.linalg.vector_norm` is NaN there.
    """
    # Compiled code has first derivatives only, and Dynamo breaks its graph at a `jvp`.
    if torch.compiler.is_compiling():
        return torch.linalg.vector_norm(vectors, dim=dim, keepdim=keepdim)
    length: Tensor = _Length.apply(vectors, dim)
    return length if keepdim else length.squeeze(dim)


class _Length(torch.autograd.Function):
    """Maps ``[..., n, ...]`` to ``[..., 1, ...]``, the lengths along one dimension."""

    generate_vmap_rule = True

    @staticmethod
    def forward(vectors: Tensor, dim: int) -> Tensor:
        return torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        ctx.dim = inputs[1]
        ctx.save_for_backward(inputs[0], output)
        ctx.save_for_forward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        vectors, length = ctx.saved_tensors
        return gradient * (vectors / _nonzero_divisor(length)), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        vectors, length = ctx.saved_tensors
        return (vectors * tangent).sum(dim=ctx.dim, keepdim=True) / _nonzero_divisor(length)


def _nonzero_divisor(length: Tensor) -> Tensor:
    """Returns the length, or infinity for 0: a quotient by it is then 0, and so are its derivatives."""
    return length.masked_fill(length == 0, torch.inf)
