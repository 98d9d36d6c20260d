"""Self-attention routing (Mazzia, Salvetti, Chiaberge 2021, "Efficient-CapsNet")."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from capsbench.routing.base import Routing
from capsbench_kernels import Parents, squash, vector_length, without_autocast


class SelfAttentionRouting(Routing):
    """Self-attention routing of Mazzia, Salvetti and Chiaberge 2021: children attend to each other once, without iterations.

    Each vote is compared with those of all children for the same parent, and a log prior B, learnt, is added to the shares:

        c_ij = softmax over j of sum_k <V_ij, V_kj> / sqrt(H)      s_j = sum_i (c_ij + B_ij) V_ij

    with H the values of a vote, as the authors' code has it, and the squash ``(1 - exp(-|s|)) s / |s|``. Since
    ``sum_k <V_ij, V_kj> = <V_ij, sum_k V_kj>``, it is one vote pass in the direction of the sum of the votes. That sum, and the
    one weighted by B, are matrix products of the poses with the transformation matrices: no matrix of all pairs of children is
    made, nor are the votes.

    The length of a pose is its activation, so the child activations are not read.
    """

    network = "efficient-capsnet"
    iterative = False

    def __init__(self, children: int, parents: int, *, iterations: int = 1, backend: str = "auto") -> None:
        super().__init__(children, parents, iterations=iterations, backend=backend)
        self.log_prior = nn.Parameter(torch.zeros(children, parents))

    def forward(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        shape = (poses.shape[2], weights.shape[3])
        with without_autocast(poses.device):  # capsules are routed in float32
            total = weighted_sum(poses, weights, torch.ones_like(self.log_prior), offset)
            prior = weighted_sum(poses, weights, self.log_prior, offset)
        attention = Parents(direction=total.flatten(2) / math.sqrt(shape[0] * shape[1]))
        attended = self.vote_pass(poses, weights, attention, offset=offset).first
        outputs = squash(attended + prior.flatten(2), variant="efficient")
        return outputs.unflatten(2, shape), vector_length(outputs, dim=2)


def weighted_sum(poses: Tensor, weights: Tensor, shares: Tensor, offset: Tensor | None = None) -> Tensor:
    """The sum over the children of votes weighted by shares ``[I, J]`` that all problems have in common, ``[N, J, R, E]``."""
    summed = torch.einsum("nird,ijde->njre", poses, weights * shares[:, :, None, None])
    return summed if offset is None else summed + torch.einsum("nire,ij->njre", offset, shares)
