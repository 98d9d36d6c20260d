"""Self-attention routing (Mazzia, Salvetti, Chiaberge 2021, "Efficient-CapsNet")."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from capsbench.routing.base import Routing
from capsbench_kernels import Parents, squash, vector_length, without_autocast


class SelfAttentionRouting(Routing):
    """Self-attention routing of Mazzia, Salvetti and Chiaberge 2021: children attend to each other once, without iterations.

    Each vote is compared with the votes of all children for the same parent. A learned log prior B is added to the shares:

        c_ij = softmax over j of sum_k <V_ij, V_kj> / sqrt(H)      s_j = sum_i (c_ij + B_ij) V_ij

    H is the number of values of a vote, as in the authors' code. The squash is ``(1 - exp(-|s|)) s / |s|``. Since
    ``sum_k <V_ij, V_kj> = <V_ij, sum_k V_kj>``, one vote pass in the direction of the sum of the votes computes all c_ij. That
    sum, and the sum weighted by B, are products of poses and transformation matrices. Neither the matrix of all pairs of children
    nor the votes are stored.

    The activation of a capsule is the length of its pose, so this routing ignores the child activations.
    """

    network = "efficient-capsnet"
    vote_attack = "mean votes"
    squash = "efficient"
    iterative = False

    def __init__(self, children: int, parents: int, *, iterations: int = 1, backend: str = "auto") -> None:
        super().__init__(children, parents, iterations=iterations, backend=backend)
        self.log_prior = nn.Parameter(torch.zeros(children, parents))

    def forward(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        shape = (poses.shape[2], weights.shape[3])
        # sum_k V_kj gives the direction of the pass, and sum_i B_ij V_ij is the part of s_j that the pass does not compute.
        with without_autocast(
            poses.device
        ):  # einsum would run in bfloat16 under autocast; capsules are routed in float32
            total = sum_votes(poses, weights, torch.ones_like(self.log_prior), offset)
            prior = sum_votes(poses, weights, self.log_prior, offset)
        attention = Parents(direction=total.flatten(2) / math.sqrt(shape[0] * shape[1]))
        attended = self.vote_pass(poses, weights, attention, offset=offset).first
        outputs = squash(attended + prior.flatten(2), variant="efficient")
        return outputs.unflatten(2, shape), vector_length(outputs, dim=2)


def sum_votes(poses: Tensor, weights: Tensor, shares: Tensor, offset: Tensor | None = None) -> Tensor:
    """Sums votes over the children, weighted by shares ``[I, J]`` that are equal in all problems: ``[N, J, R, E]``."""
    # The shares are folded into the transformation matrices, so that no tensor of all votes [N, I, J, R, E] is made.
    sums = torch.einsum("nird,ijde->njre", poses, weights * shares[:, :, None, None])
    return sums if offset is None else sums + torch.einsum("nire,ij->njre", offset, shares)
