"""Dynamic routing by agreement (Sabour, Frosst, Hinton 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from capsbench.routing.base import Routing, transforms_of
from capsbench_kernels import dynamic_routing


class DynamicRouting(Routing):
    """Routing by agreement, Procedure 1 of Sabour, Frosst and Hinton 2017.

    The length of a pose is its activation, so the child activations are not read.

    Args:
        gradient: ``all`` iterations carry gradients (the authors' code) or only the ``last``.
    """

    network = "capsnet"
    presets = transforms_of(sigma=0.1)  # as its authors' code: larger votes saturate the squash

    def __init__(
        self, children: int, parents: int, *, iterations: int = 3, backend: str = "auto", gradient: str = "all"
    ) -> None:
        super().__init__(children, parents, iterations=iterations, backend=backend)
        if gradient not in ("all", "last"):
            raise ValueError(f"gradient: expected 'all' or 'last', got {gradient!r}")
        self.gradient = gradient

    def forward(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        outputs = dynamic_routing(
            poses, weights, self.iterations, offset=offset, gradient=self.gradient, backend=self.backend
        )
        return outputs, torch.linalg.vector_norm(outputs.flatten(2), dim=2)
