"""Dynamic routing by agreement (Sabour, Frosst, Hinton 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from capsbench.errors import check_choice
from capsbench.routing.base import LayerShape, Routing, preset_transforms
from capsbench_kernels import SQUASHES, dynamic_sums, squash, vector_length


class DynamicRouting(Routing):
    """Routing by agreement, Procedure 1 of Sabour, Frosst and Hinton 2017.

    The activation of a capsule is the length of its pose, so this routing ignores the child activations.

    Args:
        gradient: the iterations that are differentiated: ``all`` (the authors' code) or only the ``last``.
        squash: ``sabour``, ``efficient`` or ``unit`` (`capsbench_kernels.squash`). With ``unit``, poses have length 1, and the
            activation is the length that Sabour's squash would give.
        leaky: adds a softmax class for "no parent", so that a child can send less than its whole vote (the authors' leaky
            softmax).
        bias: adds a learned bias, initially 0.1, to the sum of votes of each parent (the authors' code).
    """

    network = "capsnet"
    vote_attack = "mean votes"
    presets = preset_transforms(sigma=0.1)  # the authors' value: larger votes saturate the squash

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
            # One bias per value of a parent, shared by all problems: by all positions of a convolutional layer.
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
        # Unit poses all have length 1, so their activation comes from the squash of the paper instead.
        lengths = squash(sums) if self.squash == "unit" else parents
        return parents.unflatten(2, (poses.shape[2], weights.shape[3])), vector_length(lengths, dim=2)
