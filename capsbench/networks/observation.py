"""Coupling coefficients by iteration, observed while a network runs on images.

The coefficients are those of the network's own vote passes. `capsbench_kernels.observe_vote_passes` reports each pass of each
routing, a user's own included, and the coefficients follow from the inputs of the pass.
"""

from __future__ import annotations

import math
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
"""The smallest divisor of a mean or a ratio."""


@dataclass
class ObservedLayer:
    """The routing of one layer on B images; each image has P routing problems of I children and J parents.

    Attributes:
        name: of the layer, ``class capsules`` or ``convolutional capsules 1``.
        classes: whether the parents are the class capsules.
        rows, columns, types: the I children of a problem: capsule types at the positions of a grid or window, row by row.
        parents: J, without the extra column of dynamic routing's ``leaky`` softmax.
        activations: of the children, ``[B, P, I]``; for vectors, their lengths.
        shares: the coupling coefficients of each iteration, ``[B, P, I, J]``; a ``leaky`` softmax adds column J, for no parent.
        agreement: the agreement of each iteration, ``[B, P, J]``: the length of the weighted sum of a parent's votes, divided by
            the weighted sum of their lengths; 1 if all votes point in one direction. Empty if the votes have no values.
        weight: the weighted sum of lengths of each iteration, ``[B, P, J]``.
        below: the activations of the child capsules, each once, ``[B, capsules]``; a child of several windows is one capsule.
        outcomes: the activations of the parents when the routing is done, ``[B, P, J]``.
        spectrum: the singular values of a parent's votes, ``[B, P, J, V]``: a row of the matrix is the vote of a child, of V
            values. In float64, ascending, and None unless they were asked for.
        routed_spectrum: those of the votes times the weights by which the last iteration summed them.
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
    below: Tensor = field(default_factory=lambda: torch.empty(0))
    outcomes: Tensor = field(default_factory=lambda: torch.empty(0))
    spectrum: Tensor | None = None
    routed_spectrum: Tensor | None = None

    @property
    def has_none(self) -> bool:
        """True if a part of a child may go to no parent."""
        return self.shares[0].shape[-1] > self.parents

    def compute_entropy(self) -> Tensor:
        """Returns the entropy of a child's shares by iteration, ``[T, B]``, divided by that of equal shares: 1 is uniform.

        It is the mean over the children of all problems of an image, weighted by their activations. The shares of a child in
        several windows are divided by their sum in each window.
        """
        means = []
        for shares in self.shares:
            entropy = compute_relative_entropy(divide_by_sum(shares))
            means.append(compute_weighted_mean(entropy, self.activations, (1, 2)))
        return torch.stack(means)

    def compute_mean_agreement(self) -> Tensor:
        """Returns the agreement by iteration, ``[T, B]``: the mean over parents, weighted by `weight`."""
        pairs = zip(self.agreement, self.weight, strict=True)
        return torch.stack([compute_weighted_mean(agreement, weight, (1, 2)) for agreement, weight in pairs])

    def average_by_type(self) -> Tensor:
        """Returns the shares by iteration, ``[T, B, types, J]``: means over positions and problems, weighted by activations."""
        activations = self._split_children(self.activations)[..., None]
        split = [self._split_children(shares) for shares in self.shares]
        return torch.stack([compute_weighted_mean(shares, activations.expand_as(shares), (1, 2)) for shares in split])

    def average_by_position(self, parents: Tensor) -> Tensor:
        """Returns the share of one parent per image by iteration, ``[T, B, rows, columns]``.

        It is the mean over types, weighted by activations. The layer has one routing problem per image.

        Args:
            parents: one parent per image, ``[B]``.
        """
        activations = self._split_children(self.activations)[:, 0]
        means = []
        for shares in self.shares:
            index = parents.view(-1, 1, 1).expand(-1, shares.shape[2], 1)
            parent_shares = shares[:, 0].gather(2, index).squeeze(2)
            type_means = compute_weighted_mean(parent_shares.view_as(activations), activations, (2,))
            means.append(type_means.unflatten(1, (self.rows, self.columns)))
        return torch.stack(means)

    def average_by_parent(self) -> Tensor:
        """Returns the shares by iteration, ``[T, B, J]``: means over all children, weighted by activations."""
        activations = self.activations[..., None]
        return torch.stack(
            [compute_weighted_mean(shares, activations.expand_as(shares), (1, 2)) for shares in self.shares]
        )

    def _split_children(self, values: Tensor) -> Tensor:
        """Returns ``[B, P, I, ...]`` as ``[B, P, positions, types, ...]``."""
        return values.unflatten(2, (self.rows * self.columns, self.types))


def compute_weighted_mean(values: Tensor, weights: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Returns the weighted mean over some dimensions; it is 0 if all weights are 0."""
    return (values * weights).sum(dim=dims) / weights.sum(dim=dims).clamp_min(LEAST)


def divide_by_sum(shares: Tensor) -> Tensor:
    """Returns shares ``[..., J]`` divided by their sum; zeros where the sum is 0."""
    return shares / shares.sum(dim=-1, keepdim=True).clamp_min(LEAST)


def compute_relative_entropy(parts: Tensor) -> Tensor:
    """Returns the entropy ``[...]`` of distributions ``[..., J]``, divided by log J: 1 is uniform. It is 0 for a single part."""
    return -torch.xlogy(parts, parts).sum(dim=-1) / math.log(max(2, parts.shape[-1]))


@torch.no_grad()
def observe_routings(network: nn.Module, images: Tensor, *, spectra: bool = False) -> list[ObservedLayer]:
    """Runs a network on images ``[B, C, H, W]`` and returns its observed layers, in the order of the network.

    Layers without vote passes are left out. The mode of the network, training or evaluation, does not change.

    Args:
        spectra: also compute the singular values of the votes, which takes longer than the routing itself.
    """
    observer = _Observer(network, len(images), spectra)
    try:
        with observe_vote_passes(observer.record_pass):
            network(images)
    finally:
        observer.remove_hooks()
    return [layer for layer in observer.layers.values() if layer.shares]


def list_routings(network: nn.Module) -> list[Routing]:
    """Returns the routings of a network's layers."""
    return [module for module in network.modules() if isinstance(module, Routing)]


class _Observer:
    """Collects the vote passes of a running network by layer.

    Hooks record the layer that routes and its votes, because a vote pass knows neither.

    Args:
        network: gets hooks, until `remove_hooks`.
        images: B, the number of images in a batch.
        spectra: whether to compute the singular values of the votes.
    """

    def __init__(self, network: nn.Module, images: int, spectra: bool) -> None:
        self.images, self.spectra = images, spectra
        self.layers: dict[str, ObservedLayer] = {}
        self.children: tuple[int, int, int] | None = None
        self.below: Tensor | None = None
        self.routing: tuple[str, Tensor] | None = None
        self.weights: Tensor | None = None
        self.hooks = []
        layers = [module for module in network.modules() if isinstance(module, ConvolutionalCapsules | ClassCapsules)]
        names: dict[Routing, str] = {
            layer.routing: name for layer, name in zip(layers, name_layers(layers), strict=True)
        }
        for layer in layers:
            self.hooks.append(layer.register_forward_pre_hook(self._enter_layer))
        for number, routing in enumerate(list_routings(network)):
            enter = partial(self._enter_routing, name=names.get(routing, f"routing {number + 1}"))
            self.hooks.append(routing.register_forward_pre_hook(enter, with_kwargs=True))
            self.hooks.append(routing.register_forward_hook(self._leave_routing))

    def remove_hooks(self) -> None:
        for hook in self.hooks:
            hook.remove()

    def record_pass(self, vote_pass: VotePass) -> None:
        """Adds the coefficients of a pass, and the agreement of the votes, to the current layer."""
        if self.routing is None:  # a pass outside a routing belongs to no layer
            return
        name, votes = self.routing
        layer = self.layers[name]
        shares = vote_pass.shares()
        layer.shares.append(shares.unflatten(0, (self.images, -1)))
        if votes.shape[-1]:
            weights = shares if vote_pass.activations is None else shares * vote_pass.activations.unsqueeze(2)
            self.weights = weights = weights[..., : layer.parents].transpose(1, 2)  # [N, J, I]
            total = torch.linalg.vector_norm((weights.unsqueeze(2) @ votes).squeeze(2), dim=2)
            lengths = (weights * torch.linalg.vector_norm(votes, dim=3)).sum(dim=2)
            layer.agreement.append((total / lengths.clamp_min(LEAST)).unflatten(0, (self.images, -1)))
            layer.weight.append(lengths.unflatten(0, (self.images, -1)))

    def _enter_layer(self, layer: nn.Module, arguments: tuple[Any, ...]) -> None:
        self.below = arguments[0].activations.flatten(1)
        height, width, types = arguments[0].activations.shape[1:]
        side = layer.kernel if isinstance(layer, ConvolutionalCapsules) else None
        self.children = (side or height, side or width, types)

    def _enter_routing(
        self, routing: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], *, name: str
    ) -> None:
        inputs = dict(zip(("poses", "weights", "activations", "offset"), arguments, strict=False)) | keywords
        activations, weights = inputs["activations"], inputs["weights"]
        offset = inputs.get("offset")
        dtype = activations.dtype
        with without_autocast(activations.device):
            poses = inputs["poses"].to(dtype)
            self.routing = name, votes_of(poses, weights.to(dtype), None if offset is None else offset.to(dtype))
        if name not in self.layers:  # concurrent routing enters once per iteration
            rows, columns, types = self.children or (1, 1, activations.shape[1])
            problems = activations.unflatten(0, (self.images, -1))
            layer = ObservedLayer(name, name == CLASSES, rows, columns, types, weights.shape[1], problems)
            layer.below = problems.flatten(1) if self.below is None else self.below
            self.layers[name] = layer

    def _leave_routing(self, routing: nn.Module, arguments: tuple[Any, ...], outputs: Any) -> None:
        if self.routing is not None:
            name, votes = self.routing
            layer = self.layers[name]
            layer.outcomes = outputs[1].unflatten(0, (self.images, -1))
            if self.spectra and self.weights is not None:
                routed = self.weights[..., None] * votes
                layer.spectrum, layer.routed_spectrum = (
                    compute_singular_values(matrix).unflatten(0, (self.images, -1)) for matrix in (votes, routed)
                )
        self.routing = self.children = self.below = self.weights = None


def compute_singular_values(matrix: Tensor) -> Tensor:
    """Returns the V singular values of matrices ``[..., I, V]`` in float64, ascending; ``[..., V]``.

    They are the roots of the eigenvalues of the V x V products, of which thousands take no longer than one large
    decomposition. Values below 1e-8 of the largest are rounding errors.
    """
    matrix = matrix.double()
    return torch.linalg.eigvalsh(matrix.mT @ matrix).clamp_min(0).sqrt()


def name_layers(layers: Sequence[nn.Module]) -> list[str]:
    """Returns ``class capsules`` and the names of the convolutional layers, numbered if there are several."""
    below = [layer for layer in layers if isinstance(layer, ConvolutionalCapsules)]
    many = len(below) > 1
    return [
        f"convolutional capsules{f' {1 + below.index(layer)}' if many else ''}" if layer in below else CLASSES
        for layer in layers
    ]
