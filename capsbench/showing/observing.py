"""What the routings of a network do with images: coupling coefficients by iteration, as its own vote passes had them.

Nothing is routed a second time by another formula. While the network runs, `capsbench_kernels.observe_vote_passes` tells of each
pass that a routing makes, and the coefficients follow from what the pass was given. A user's own routing is seen as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from capsbench.layers import Capsules, ClassCapsules, ConvolutionalCapsules
from capsbench.routing.base import Routing
from capsbench_kernels import VotePass, observe_vote_passes
from capsbench_kernels.reference import votes_of

LEAST = 1e-12
"""What a sum of weights or lengths is divided by where it is less."""


@dataclass
class Observed:
    """What the routing of one layer did with B images, of which each makes P routing problems of I children and J parents.

    Attributes:
        name: of the layer, ``class capsules`` or ``convolutional capsules 1``.
        classes: whether the parents are the class capsules.
        rows, columns, types: the children of a problem: types of capsules at the places of a grid or of a window, row by row.
        parents: J, without the one that stands for none of them in dynamic routing's ``leaky`` softmax.
        activations: of the children, ``[B, P, I]``; the lengths of vectors.
        shares: an iteration each: coupling coefficients ``[B, P, I, J]``; where a child may go to none, that is column J.
        agreement: an iteration each: ``[B, P, J]``, of the votes that a parent receives, the length of their sum divided by the
            sum of their lengths, all weighted as the sum is: 1 where all point in one direction. Empty for votes without values.
        weight: an iteration each: that sum of lengths.
    """

    name: str
    classes: bool
    rows: int
    columns: int
    types: int
    parents: int
    activations: Tensor
    shares: list[Tensor] = field(default_factory=list)
    agreement: list[Tensor] = field(default_factory=list)
    weight: list[Tensor] = field(default_factory=list)

    @property
    def has_none(self) -> bool:
        """Whether a child may go to none of the parents."""
        return self.shares[0].shape[-1] > self.parents

    def entropy(self) -> Tensor:
        """Of each iteration ``[T, B]``: the entropy of a child's shares divided by that of equal ones, so that 1 is uniform.

        The mean over the children of all the image's problems, weighted by their activations. Where a child is shared among the
        parents of several windows, its shares are divided by their sum in each.
        """
        found = []
        for shares in self.shares:
            parts = shares / shares.sum(dim=-1, keepdim=True).clamp_min(LEAST)
            bits = -torch.xlogy(parts, parts).sum(dim=-1) / torch.log(torch.tensor(float(parts.shape[-1])))
            found.append(weighted(bits, self.activations, (1, 2)))
        return torch.stack(found)

    def mean_agreement(self) -> Tensor:
        """Of each iteration ``[T, B]``: the agreement, the mean over parents weighted by the lengths that they receive."""
        pairs = zip(self.agreement, self.weight, strict=True)
        return torch.stack([weighted(agreement, weight, (1, 2)) for agreement, weight in pairs])

    def by_type(self) -> Tensor:
        """Of each iteration ``[T, B, types, J]``: shares, the mean over places and problems weighted by activations."""
        activations = self._of_places(self.activations)[..., None]
        places = [self._of_places(shares, 1) for shares in self.shares]
        return torch.stack([weighted(shares, activations.expand_as(shares), (1, 2)) for shares in places])

    def by_place(self, parents: Tensor) -> Tensor:
        """Of each iteration ``[T, B, rows, columns]``: the share of one parent an image ``[B]``, the mean over types.

        It is weighted by activations, and for a layer of one problem an image alone.
        """
        activations = self._of_places(self.activations)[:, 0]
        found = []
        for shares in self.shares:
            index = parents.view(-1, 1, 1).expand(-1, shares.shape[2], 1)
            own = shares[:, 0].gather(2, index).squeeze(2)
            means = weighted(own.view_as(activations), activations, (2,))
            found.append(means.unflatten(1, (self.rows, self.columns)))
        return torch.stack(found)

    def by_parent(self) -> Tensor:
        """Of each iteration ``[T, B, J]``: shares, the mean over all children weighted by activations."""
        activations = self.activations[..., None]
        return torch.stack(
            [weighted(shares, activations.expand_as(shares), (1, 2)) for shares in self.shares]
        )

    def _of_places(self, values: Tensor, further: int = 0) -> Tensor:
        """``[B, P, I, ...]`` as ``[B, P, places, types, ...]``."""
        assert values.dim() == 3 + further
        return values.unflatten(2, (self.rows * self.columns, self.types))


def weighted(values: Tensor, weights: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The mean over some dimensions, weighted; where all weights are 0, it is 0."""
    return (values * weights).sum(dim=dims) / weights.sum(dim=dims).clamp_min(LEAST)


@torch.no_grad()
def observed(network: nn.Module, images: Tensor) -> list[Observed]:
    """What each routing of a network does with images ``[B, C, H, W]``, the layers in the order in which they come.

    A layer that makes no vote passes is left out. The network is left in the mode that it is in.
    """
    watch = _Watch(len(images))
    names = _names(network)
    with watch.of(names), observe_vote_passes(watch.passed):
        network(images)
    return [layer for layer in watch.layers.values() if layer.shares]


def routings_of(network: nn.Module) -> list[Routing]:
    """The routings of a network's layers."""
    return [module for module in network.modules() if isinstance(module, Routing)]


def _names(network: nn.Module) -> dict[Routing, str]:
    layers = [module for module in network.modules() if isinstance(getattr(module, "routing", None), Routing)]
    below = [layer for layer in layers if not isinstance(layer, ClassCapsules)]
    names = {}
    for layer in layers:
        number = f" {1 + below.index(layer)}" if layer in below and len(below) > 1 else ""
        names[layer.routing] = f"convolutional capsules{number}" if layer in below else "class capsules"
    for routing in routings_of(network):
        names.setdefault(routing, f"routing {1 + len(names)}")
    return names


class _Watch:
    """Collects what is told of the passes while a network runs."""

    def __init__(self, images: int) -> None:
        self.images = images
        self.layers: dict[Routing, Observed] = {}
        self.shape: tuple[int, int, int] | None = None
        self.current: Observed | None = None
        self.given: tuple[Tensor, Tensor, Tensor | None] | None = None

    @contextmanager
    def of(self, names: dict[Routing, str]) -> Iterator[None]:
        handles = [
            routing.register_forward_pre_hook(self._routing_begins(name), with_kwargs=True)
            for routing, name in names.items()
        ]
        self.layer_of: dict[Routing, nn.Module] = {}
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
