"""Attacks that go by the routing: on the votes alone, and at another number of iterations than in training."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from capsbench.networks.build import build_network
from capsbench.records.cell import Cell
from capsbench.routing.base import Routing
from capsbench.routing.dynamic import DynamicRouting
from capsbench.routing.self_attention import SelfAttentionRouting
from capsbench.routing.uniform import UniformRouting
from capsbench_kernels import Parents, squash, vector_length

BY_LENGTH = (DynamicRouting, SelfAttentionRouting, UniformRouting)
"""Routings whose activation is the length of a squashed pose, as in the networks that the vote attack was made for."""


class MeanVotes(Routing):
    """What stands in the place of a routing for the vote attack: the mean of all votes for a parent, squashed.

    ``s_j = (1 / I) sum_i V_ij`` (Gu, Wu, Tresp 2021, section 4.1); the length of the squashed s_j is the activation. Nothing
    is shared out, so that every child votes for every parent with full weight, and there is nothing that iterates.

    Args:
        squash: the variant that the routing has (`capsbench_kernels.squash`).
    """

    def __init__(self, children: int, parents: int, *, squash: str = "sabour", backend: str = "auto") -> None:
        super().__init__(children, parents, iterations=1, backend=backend)
        self.squash = squash

    def forward(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        # In a first pass each child is shared equally by all parents, and the pass adds up.
        sums = self.vote_pass(poses, weights, Parents(), offset=offset).first
        mean = sums * (weights.shape[1] / poses.shape[1])
        outputs = squash(mean, variant=self.squash)
        lengths = squash(mean) if self.squash == "unit" else outputs
        return outputs.unflatten(2, (poses.shape[2], weights.shape[3])), vector_length(lengths, dim=2)


def without_routing(cell: Cell, network: nn.Module) -> nn.Module | None:
    """A copy of a cell's network that takes the votes as they are: what the vote attack finds its gradients in.

    Where the activation of a capsule is the length of its pose, `MeanVotes` take the place of each routing, as in the paper.
    Elsewhere the mean vote alone says nothing of the activation; there the routing makes its first iteration only, in which
    every child is shared equally, and its own rule makes an activation of what they give. None where neither can be: of a
    routing that is not iterative and has another activation, such as self-routing.
    """
    routings = [module for module in network.modules() if isinstance(module, Routing)]
    if routings and all(isinstance(routing, BY_LENGTH) for routing in routings):
        network = copy.deepcopy(network)
        for module in list(network.modules()):
            for name, routing in list(module.named_children()):
                if isinstance(routing, Routing):
                    setattr(module, name, _mean_votes(routing))
        return network
    if routings and all(routing.iterative for routing in routings):
        return at_iterations(cell, network, 1)
    return None


def _mean_votes(routing: Routing) -> MeanVotes:
    otherwise = "efficient" if isinstance(routing, SelfAttentionRouting) else "sabour"
    variant = getattr(routing, "squash", otherwise)
    made = MeanVotes(routing.child_count, routing.parent_count, squash=variant, backend=routing.backend)
    return made.train(routing.training)


def at_iterations(cell: Cell, network: nn.Module, iterations: int) -> nn.Module:
    """A network of the same weights whose routings make another number of iterations.

    It is built anew, so that whatever depends on the number, such as the temperatures of EM routing, is that of a network
    made with it.
    """
    devices: list[Any] = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        made = build_network(cell.model_copy(update={"iterations": iterations}))
    made.load_state_dict(network.state_dict())
    return made.train(network.training)
