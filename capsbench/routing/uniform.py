"""No routing: every child is shared equally by all parents (the ablation of Paik 2019 and of Gu and Tresp 2020)."""

from __future__ import annotations

from torch import Tensor

from capsbench.routing.base import Routing, transforms_of
from capsbench_kernels import Parents, squash, vector_length


class UniformRouting(Routing):
    """No routing: one pass with equal shares, then the squash; what dynamic routing is after one iteration, in any network."""

    network = "capsnet"
    presets = transforms_of(sigma=0.1)
    iterative = False

    def forward(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        outputs = squash(self.vote_pass(poses, weights, Parents(), offset=offset).first)
        outputs = outputs.unflatten(-1, (poses.shape[2], weights.shape[3]))
        return outputs, vector_length(outputs.flatten(2), dim=2)
