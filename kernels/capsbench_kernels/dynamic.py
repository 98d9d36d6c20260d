"""Dynamic routing by agreement (Sabour, Frosst, Hinton 2017, Procedure 1) as a loop of vote passes.

The paper's logits start at 0 and grow by ``<V_ij, v_j>`` an iteration, so after t iterations they are
``<V_ij, v1_j + ... + vt_j>``: the running sum of the outputs is all that has to be kept, never the logits themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from capsbench_kernels.dispatch import Parents, vote_pass

SQUASHES = ("sabour", "efficient", "unit")
"""The variants of `squash`."""


def squash(vectors: Tensor, dim: int = -1, variant: str = "sabour") -> Tensor:
    """Changes the length of vectors and keeps their direction; the gradient at 0 is finite in every variant.

    With ``s`` a vector, the variants give

    - ``sabour``: ``s |s| / (1 + |s|^2)``, a length below 1 (Sabour 2017, equation 1);
    - ``efficient``: ``(1 - exp(-|s|)) s / |s|``, a length below 1 that does not vanish as fast for short vectors (Mazzia 2021,
      equation 3);
    - ``unit``: ``s / |s|``, a length of 1: direction alone. Vectors shorter than 1e-6 come out shorter.
    """
    length = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    if variant == "sabour":
        return vectors * (length / (1 + length.square()))
    if variant == "efficient":
        return vectors * (-torch.expm1(-length) / length.clamp_min(SHORTEST))
    if variant == "unit":
        return vectors / length.clamp_min(SHORTEST)
    raise ValueError(f"squash: expected {', '.join(SQUASHES)}, got {variant!r}")


SHORTEST = 1e-6
"""The least length that a vector is divided by."""


def dynamic_routing(
    poses: Tensor,
    weights: Tensor,
    iterations: int = 3,
    *,
    offset: Tensor | None = None,
    gradient: str = "all",
    backend: str = "auto",
) -> Tensor:
    """Routes child poses to parents by agreement (Sabour 2017, Procedure 1); the squash is over the R*E values of a parent.

    Args:
        poses: child poses ``[N, I, R, D]``.
        weights: transformation matrices ``[I, J, D, E]``.
        iterations: routing iterations, 1 or more; the first shares every child equally.
        gradient: ``all`` iterations carry gradients, as in the authors' code, or only the ``last``, as in several others: the
            coupling coefficients are then constants.
        backend: see `capsbench_kernels.vote_pass`.

    Returns:
        Parent poses ``[N, J, R, E]``, each of length below 1.
    """
    if iterations < 1:
        raise ValueError(f"iterations: expected 1 or more, got {iterations}")
    if gradient not in ("all", "last"):
        raise ValueError(f"gradient: expected 'all' or 'last', got {gradient!r}")

    direction: Tensor | None = None
    outputs = poses.new_empty(0)
    for iteration in range(iterations):
        frozen = gradient == "last" and iteration < iterations - 1
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            moments = vote_pass(
                poses,
                weights,
                Parents(direction=direction),
                offset=offset,
                backend=backend,
                constant_shares=gradient == "last",
            )
            outputs = squash(moments.first)
            direction = outputs if direction is None else direction + outputs
    return outputs.unflatten(-1, (poses.shape[2], weights.shape[3]))
