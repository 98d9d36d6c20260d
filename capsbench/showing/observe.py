"""What the routings of a network do with images: coupling coefficients by iteration, as its own vote passes had them.

Nothing is routed a second time by another formula. While the network runs, `capsbench_kernels.observe_vote_passes` tells of each
pass that a routing makes, and the coefficients follow from what the pass was given. A user's own routing is seen as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from capsbench.networks.layers import ClassCapsules, ConvolutionalCapsules
from capsbench.routing.base import Routing
from capsbench_kernels import VotePass, observe_vote_passes, without_autocast
from capsbench_kernels.passes.naive import votes_of

CLASSES = "class capsules"
"""The name of the layer of class capsules."""

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
        return torch.stack([weighted(shares, activations.expand_as(shares), (1, 2)) for shares in self.shares])

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
    watch = _Watch(network, len(images))
    try:
        with observe_vote_passes(watch.passed):
            network(images)
    finally:
        watch.end()
    return [layer for layer in watch.layers.values() if layer.shares]


def routings_of(network: nn.Module) -> list[Routing]:
    """The routings of a network's layers."""
    return [module for module in network.modules() if isinstance(module, Routing)]


class _Watch:
    """Collects what is told of the passes of a network while it runs: which layer is routing, and of what.

    Args:
        network: gets hooks, until `end`.
        images: how many it is shown, B.
    """

    def __init__(self, network: nn.Module, images: int) -> None:
        self.images = images
        self.layers: dict[str, Observed] = {}
        self.children: tuple[int, int, int] | None = None
        self.routing: tuple[str, Tensor] | None = None
        self.hooks = []
        layers = [module for module in network.modules() if isinstance(module, ConvolutionalCapsules | ClassCapsules)]
        names: dict[Routing, str] = {layer.routing: name for layer, name in zip(layers, names_of(layers), strict=True)}
        for layer in layers:
            self.hooks.append(layer.register_forward_pre_hook(self._layer_begins))
        for number, routing in enumerate(routings_of(network)):
            begins = partial(self._routing_begins, name=names.get(routing, f"routing {number + 1}"))
            self.hooks.append(routing.register_forward_pre_hook(begins, with_kwargs=True))
            self.hooks.append(routing.register_forward_hook(self._routing_ends))

    def end(self) -> None:
        for hook in self.hooks:
            hook.remove()

    def passed(self, made: VotePass) -> None:
        """Notes the coefficients of a pass, and how far the votes agree that they weigh."""
        if self.routing is None:  # outside of a routing's forward: not a layer's
            return
        name, votes = self.routing
        layer = self.layers[name]
        shares = made.shares()
        layer.shares.append(shares.unflatten(0, (self.images, -1)))
        if votes.shape[-1]:
            weights = shares if made.activations is None else shares * made.activations.unsqueeze(2)
            weights = weights[..., : layer.parents].transpose(1, 2)  # [N, J, I]
            total = torch.linalg.vector_norm((weights.unsqueeze(2) @ votes).squeeze(2), dim=2)
            lengths = (weights * torch.linalg.vector_norm(votes, dim=3)).sum(dim=2)
            layer.agreement.append((total / lengths.clamp_min(LEAST)).unflatten(0, (self.images, -1)))
            layer.weight.append(lengths.unflatten(0, (self.images, -1)))

    def _layer_begins(self, layer: nn.Module, arguments: tuple[Any, ...]) -> None:
        height, width, types = arguments[0].activations.shape[1:]
        side = layer.kernel if isinstance(layer, ConvolutionalCapsules) else None
        self.children = (side or height, side or width, types)

    def _routing_begins(
        self, routing: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], *, name: str
    ) -> None:
        given = dict(zip(("poses", "weights", "activations", "offset"), arguments, strict=False)) | named
        activations, weights = given["activations"], given["weights"]
        offset = given.get("offset")
        dtype = activations.dtype
        with without_autocast(activations.device):
            poses = given["poses"].to(dtype)
            self.routing = name, votes_of(poses, weights.to(dtype), None if offset is None else offset.to(dtype))
        if name not in self.layers:  # concurrent routing comes again, for its next iteration
            rows, columns, types = self.children or (1, 1, activations.shape[1])
            problems = activations.unflatten(0, (self.images, -1))
            self.layers[name] = Observed(name, name == CLASSES, rows, columns, types, weights.shape[1], problems)

    def _routing_ends(self, routing: nn.Module, arguments: tuple[Any, ...], outputs: Any) -> None:
        self.routing = self.children = None


def names_of(layers: Sequence[nn.Module]) -> list[str]:
    """``class capsules``, and the layers below them, numbered where there are several."""
    below = [layer for layer in layers if isinstance(layer, ConvolutionalCapsules)]
    many = len(below) > 1
    return [
        f"convolutional capsules{f' {1 + below.index(layer)}' if many else ''}" if layer in below else CLASSES
        for layer in layers
    ]
