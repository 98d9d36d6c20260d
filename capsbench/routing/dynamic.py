"""Dynamic routing by agreement (Sabour, Frosst, Hinton 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from capsbench.errors import check_choice
from capsbench.routing.base import LayerShape, Routing, transforms_of
from capsbench_kernels import SQUASHES, dynamic_sums, squash, vector_length


class DynamicRouting(Routing):
    """Routing by agreement, Procedure 1 of Sabour, Frosst and Hinton 2017.

    The length of a pose is its activation, so the child activations are not read.

    Args:
        gradient: ``all`` iterations carry gradients (the authors' code) or only the ``last``.
        squash: ``sabour``, ``efficient`` or ``unit`` (`capsbench_kernels.squash`). With ``unit`` poses are of length 1, and the
            activation is the length that Sabour's squash would have given them.
        leaky: whether a child may go to none of the parents (the authors' leaky softmax).
        bias: whether a learned bias that starts at 0.1 is added to what a parent receives (the authors' code).
    """

    network = "capsnet"
    presets = transforms_of(sigma=0.1)  # as its authors' code: larger votes saturate the squash

    def __init__(
        self,
        children: int,
        parents: int,
        *,
        iterations: int = 3,
        backend: str = "auto",
        gradient: str = "all",
        squash: str = "sabour",
        leaky: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__(children, parents, iterations=iterations, backend=backend)
        check_choice("gradient", gradient, ("all", "last"))
        check_choice("squash", squash, SQUASHES)
        self.gradient, self.squash, self.leaky = gradient, squash, leaky
        self.has_bias = bias
        self.bias: nn.Parameter | None = None

    def prepare(self, layer: LayerShape) -> None:
        if self.has_bias:
            self.bias = nn.Parameter(torch.full((self.parent_count, layer.rows * layer.columns), 0.1))

    def forward(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        sums = dynamic_sums(
            poses,
            weights,
            self.iterations,
            offset=offset,
            gradient=self.gradient,
            variant=self.squash,
            leaky=self.leaky,
            bias=self.bias,
            backend=self.backend,
        )
        parents = squash(sums, variant=self.squash)
        lengths = squash(sums) if self.squash == "unit" else parents
        return parents.unflatten(2, (poses.shape[2], weights.shape[3])), vector_length(lengths, dim=2)
