"""Inverted dot-product attention routing (Tsai, Srivastava, Goh, Salakhutdinov 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from capsbench.routing.base import LayerShape, Routing, preset_transforms
from capsbench_kernels import Parents


class InvertedAttentionRouting(Routing):
    """Inverted dot-product attention, Procedure 1 of Tsai, Srivastava, Goh and Salakhutdinov 2020.

    Parents compete for the attention of each child. A parent's share depends on the agreement of its current pose p_j with the
    child's vote:

        r_ij = softmax over j of <p_j, V_ij> / sqrt(H)      p_j = LayerNorm(sum_i r_ij V_ij)

    Poses are initially 0, so that the first iteration divides every child equally. The layer norm normalises over all values of
    a pose. Its learned scale and shift have one entry per value and are shared by all parents of the layer.

    Capsules have no activations: the routing ignores those of the children and returns 1 for the parents. Class capsules are
    the exception. One linear map, shared by all classes, turns a pose into a logit, and a softmax over the classes gives the
    paper's class probabilities as activations. (The authors' code adds a bias to that map, which cancels in the softmax.)

    The authors' public code stacks the windows of convolutional capsules with positions last, and then reads them as if the
    values of a pose came last (``input_expansion``), which mixes positions and values. Here each window has its own poses, as in
    the paper.

    The paper routes several layers concurrently. The network controls this through ``parents`` and ``steps``
    (`capsbench.networks.inverted_attention`); in other networks a layer finishes its iterations before the next layer starts.

    Args:
        scaled: divides the agreement by the square root of H, the number of values of a pose, as the authors' code does. The
            paper's text does not mention the division; False omits it.
    """

    network = "capsnet-tsai2020"
    exclusive = True
    continues = True
    presets = preset_transforms(sigma=0.1)  # for other networks; capsnet-tsai2020 draws its matrices as the authors do

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
        """Routes as `Routing.forward` does, from given parents on.

        Args:
            parents: initial poses, ``[N, J, R, E]``; 0 if None.
            steps: the number of iterations; ``iterations`` if None.
        """
        # Zero poses agree equally with every vote, as an empty belief does, but need no multiplication.
        belief = Parents() if parents is None else self.to_belief(parents.flatten(2))
        for _ in range(self.iterations if steps is None else steps):
            outputs = self.norm(self.vote_pass(poses, weights, belief, offset=offset).first)
            belief = self.to_belief(outputs)
        return outputs.unflatten(-1, (poses.shape[2], weights.shape[3])), self.compute_activations(outputs)

    def to_belief(self, poses: Tensor) -> Parents:
        """Returns the belief that makes the next pass weigh votes by their agreement with parent poses ``[N, J, R*E]``."""
        return Parents(direction=poses / math.sqrt(poses.shape[2]) if self.scaled else poses)

    def compute_activations(self, poses: Tensor) -> Tensor:
        """Returns activations ``[N, J]`` of parents of poses ``[N, J, R*E]``: class probabilities, or 1 in other layers."""
        if self.head is None:
            return torch.ones_like(poses[..., 0])
        # Written out rather than self.head(poses), because autocast would run the linear layer in bfloat16.
        return (poses * self.head.weight).sum(dim=-1).softmax(dim=1)
