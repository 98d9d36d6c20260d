"""Uniform routing: every child votes equally for all parents (an ablation of Paik 2019 and of Gu and Tresp 2020)."""

from __future__ import annotations

from torch import Tensor

from capsbench.routing.base import Routing, preset_transforms
from capsbench_kernels import Parents, squash, vector_length


class UniformRouting(Routing):
    """Uniform routing: one vote pass with equal shares, then the squash. Equal to one iteration of dynamic routing."""

    network = "capsnet"
    vote_attack = "mean votes"
    presets = preset_transforms(sigma=0.1)
    iterative = False

    def forward(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        # An empty belief gives every parent the same share, 1 / J.
        outputs = squash(self.vote_pass(poses, weights, Parents(), offset=offset).first)
        outputs = outputs.unflatten(-1, (poses.shape[2], weights.shape[3]))
        return outputs, vector_length(outputs.flatten(2), dim=2)
