"""Attacks that exploit the routing: on the votes alone, and with a different number of iterations than in training."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from capsbench.networks.build import build_network
from capsbench.records.cell import Cell
from capsbench.routing.base import Routing
from capsbench_kernels import Parents, squash, vector_length


class MeanVotes(Routing):
    """Replaces a routing in the vote attack by the squashed mean of all votes for a parent.

    ``s_j = (1 / I) sum_i V_ij`` (Gu, Wu, Tresp 2021, section 4.1); the length of the squashed s_j is the activation. There are no
    shares: every child votes for every parent with full weight, and there are no iterations.

    Args:
        squash: the squash variant of the routing (`capsbench_kernels.squash`).
    """

    def __init__(self, children: int, parents: int, *, squash: str = "sabour", backend: str = "auto") -> None:
        super().__init__(children, parents, iterations=1, backend=backend)
        self.squash = squash

    def forward(
        self, poses: Tensor, weights: Tensor, activations: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        # The first pass gives each of J parents a share of 1 / J of every vote and sums them, so J / I makes the sum a mean.
        sums = self.vote_pass(poses, weights, Parents(), offset=offset).first
        mean = sums * (weights.shape[1] / poses.shape[1])
        outputs = squash(mean, variant=self.squash)
        lengths = squash(mean) if self.squash == "unit" else outputs
        return outputs.unflatten(2, (poses.shape[2], weights.shape[3])), vector_length(lengths, dim=2)


def remove_routing(cell: Cell, network: nn.Module) -> nn.Module | None:
    """Returns a copy of a cell's network without routing, in which the vote attack computes its gradients.

    Each routing declares how (`Routing.vote_attack`). If the activation of a capsule is the length of its squashed pose,
    `MeanVotes` replaces the routing, as in the paper. Otherwise the mean vote does not determine the activation; the routing then
    runs its first iteration only, and computes activations by its own rule. Returns None if neither is possible.
    """
    routings = [module for module in network.modules() if isinstance(module, Routing)]
    if routings and all(routing.vote_attack == "mean votes" for routing in routings):
        network = copy.deepcopy(network)
        for module in list(network.modules()):
            for name, routing in list(module.named_children()):
                if isinstance(routing, Routing):
                    setattr(module, name, _make_mean_votes(routing))
        return network
    if routings and all(routing.iterative and routing.vote_attack for routing in routings):
        return set_iterations(cell, network, 1)
    return None


def _make_mean_votes(routing: Routing) -> MeanVotes:
    mean_votes = MeanVotes(routing.child_count, routing.parent_count, squash=routing.squash, backend=routing.backend)
    return mean_votes.train(routing.training)


def set_iterations(cell: Cell, network: nn.Module, iterations: int) -> nn.Module:
    """Returns a copy of a network with the same weights and another number of routing iterations.

    The copy is built from the cell, so that settings that depend on the number of iterations, such as the temperatures of EM
    routing, are those of a network built with that number.
    """
    devices: list[Any] = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        changed = build_network(cell.model_copy(update={"iterations": iterations}))
    changed.load_state_dict(network.state_dict())
    return changed.train(network.training)
