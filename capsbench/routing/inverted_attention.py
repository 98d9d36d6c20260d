"""Inverted dot-product attention routing (Tsai, Srivastava, Goh, Salakhutdinov 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from capsbench.routing.base import LayerShape, Routing, transforms_of
from capsbench_kernels import Parents


class InvertedAttentionRouting(Routing):
    """Inverted dot-product attention, Procedure 1 of Tsai, Srivastava, Goh and Salakhutdinov 2020.

    Parents compete for the attention of each child, by the agreement of their poses p_j so far with its votes:

        r_ij = softmax over j of <p_j, V_ij> / sqrt(H)      p_j = LayerNorm(sum_i r_ij V_ij)

    The poses are 0 at the start, so that the first iteration shares every child equally. The layer norm is over all values of a
    pose; its scale and shift are learnt, one pair a value for all parents of the layer.

    Capsules have no activations here: those of the children are not read, and those of the parents are 1. Class capsules alone
    are told apart, by one linear map from a pose to a logit, shared by all classes, and a softmax over the classes: their
    activations are the paper's class probabilities. (A bias of that map, as the authors' code has it, cancels in the softmax.)

    The authors' public code reads the windows of convolutional capsules, stacked with their positions last, as if the values of a
    pose came last (``input_expansion``): it mixes positions and values. Here each window has its own poses, as in the paper.

    Between several layers the paper routes concurrently, which is up to the network, by ``parents`` and ``steps``
    (`capsbench.networks.inverted_attention`); elsewhere a layer finishes its iterations before the next begins.

    Args:
        scaled: divides the agreement by the square root of H, the values of a pose, as the authors' code does; the paper's
            text does not say so, and False leaves it out.
    """

    network = "capsnet-tsai2020"
    continues = True
    presets = transforms_of(sigma=0.1)  # for other networks; its own draws them as its authors' code does

    norm: nn.LayerNorm
    head: nn.Linear | None

    def __init__(
        self, children: int, parents: int, *, iterations: int = 2, backend: str = "auto", scaled: bool = True
    ) -> None:
        super().__init__(children, parents, iterations=iterations, backend=backend)
        self.scaled = scaled

    def prepare(self, layer: LayerShape) -> None:
        values = layer.rows * layer.columns
        self.norm = nn.LayerNorm(values)
        self.head = nn.Linear(values, 1, bias=False) if layer.classes else None

    def forward(
        self,
        poses: Tensor,
        weights: Tensor,
        activations: Tensor,
        offset: Tensor | None = None,
        *,
        parents: Tensor | None = None,
        steps: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `Routing.forward`.

        Args:
            parents: poses to go on from, ``[N, J, R, E]``; 0 if None.
            steps: iterations to make; ``iterations`` if None.
        """
        belief = Parents() if parents is None else self.agreement(parents.flatten(2))
        for _ in range(self.iterations if steps is None else steps):
            outputs = self.norm(self.vote_pass(poses, weights, belief, offset=offset).first)
            belief = self.agreement(outputs)
        return outputs.unflatten(-1, (poses.shape[2], weights.shape[3])), self.activations(outputs)

    def agreement(self, poses: Tensor) -> Parents:
        """What is believed of parents that have these poses so far, ``[N, J, R*E]``."""
        return Parents(direction=poses / math.sqrt(poses.shape[2]) if self.scaled else poses)

    def activations(self, poses: Tensor) -> Tensor:
        """Activations ``[N, J]`` of parents of these poses ``[N, J, R*E]``: probabilities of classes, 1 of other capsules."""
        if self.head is None:
            return torch.ones_like(poses[..., 0])
        # Not by the layer itself, which mixed precision would take in bfloat16.
        return (poses * self.head.weight).sum(dim=-1).softmax(dim=1)
