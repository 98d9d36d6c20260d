"""Self-routing (Hahn, Pyeon, Kim 2019, "Self-Routing Capsule Networks")."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from capsbench.routing.base import LayerShape, Routing
from capsbench_kernels import Parents

LEAST_MASS = 1e-6
"""The lower bound of a sum of activations before division. The authors' code has no bound and divides by 0 on underflow."""


class SelfRouting(Routing):
    """Self-routing of Hahn, Pyeon and Kim 2019: each child computes its shares from its pose alone.

    Votes do not have to agree, so there are no iterations. With a child's activation a_i and the values u_i of its pose:

        c_ij = softmax over j of (W^route_i u_i + b^route_i)_j
        a_j = sum_i c_ij a_i / sum_i a_i      pose_j = sum_i c_ij a_i V_ij / sum_i c_ij a_i

    W^route and b^route are initially 0, as in the authors' code. Positions that share transformation matrices share them too.
    The paper's poses are vectors. The logit of a matrix pose is linear in all its R*D values; its votes are ``u_i @ W_ij``, as in
    every other routing.

    One vote pass computes logits and votes together. Poses get a column of ones. The transformation matrices get a row of zeros
    for that column, and R extra columns:

        V'_ij = [u_i 1] @ | W_ij  W^route_ij^T |
                          |  0     b^route_ij  |     (b^route_ij in the first of the R columns, 0 in the others)

    The last R columns of V'_ij are a square matrix whose trace is the logit. The logit is therefore the scalar product of V'_ij
    with a direction that is 1 on that diagonal and 0 elsewhere.
    """

    network = "capsnet-hahn2019"
    exclusive = True
    separate_activations = True
    iterative = False
    vote_attack = None
    activations_need_votes = False

    routing_matrices: nn.Parameter
    routing_bias: nn.Parameter

    def __init__(self, children: int, parents: int, *, iterations: int = 1, backend: str = "auto") -> None:
        super().__init__(children, parents, iterations=iterations, backend=backend)

    def prepare(self, layer: LayerShape) -> None:
        self.routing_matrices = nn.Parameter(torch.zeros(layer.transforms, self.parent_count, layer.rows, layer.depth))
        self.routing_bias = nn.Parameter(torch.zeros(layer.transforms, self.parent_count))

    def forward(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        problems, _, rows, _ = poses.shape
        parents, columns = weights.shape[1], weights.shape[3]
        # 1 on the diagonal of the last R columns: <direction, V'_ij> is the logit of child i for parent j.
        direction = F.pad(torch.eye(rows, dtype=activations.dtype, device=poses.device), (columns, 0))
        moments = self.vote_pass(
            F.pad(poses, (0, 1), value=1.0),
            self.append_logits(weights),
            Parents(direction=direction.flatten().expand(problems, parents, -1)),
            activations,
            None if offset is None else F.pad(offset, (0, rows)),
        )
        # The extra columns have done their work; the remaining ones are the sums of the votes.
        outputs = moments.first.unflatten(-1, (rows, columns + rows))[..., :columns]
        outputs = outputs / moments.mass.clamp_min(LEAST_MASS)[..., None, None]
        return outputs, moments.mass / activations.sum(dim=1, keepdim=True).clamp_min(LEAST_MASS)

    def append_logits(self, weights: Tensor) -> Tensor:
        """Extends transformation matrices ``[I, J, D, E]`` by the row and columns of the logits: ``[I, J, D + 1, E + R]``."""
        rows = self.routing_matrices.shape[2]
        bias = F.pad(self.routing_bias[..., None, None], (0, rows - 1))
        logits = torch.cat([self.routing_matrices.transpose(2, 3), bias], dim=2)
        # Positions follow each other in the children, so each position repeats the routing matrices of all its types.
        logits = logits.repeat(len(weights) // len(logits), 1, 1, 1)
        return torch.cat([F.pad(weights, (0, 0, 0, 1)), logits], dim=3)
