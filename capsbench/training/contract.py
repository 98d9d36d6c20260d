"""Checks that the parts of a network, especially a user's own, return what their interfaces promise."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from capsbench.data.images import ANY_NUMBER, Batch, Splits
from capsbench.errors import TrainingFailed
from capsbench.networks.base import CapsuleNetwork, SelfSupervised
from capsbench.networks.layers import Capsules
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.routing.base import Routing
from capsbench.training.loop import make_first_batch
from capsbench.training.losses import make_loss

IMAGES = 2
"""The number of training images in a check: two, so that a lost batch dimension is noticed."""

TOLERANCE = 1e-3
"""The largest deviation of an activation from [0, 1], for the rounding error of a length."""


def check_contract(cell: Cell, network: nn.Module, data: Splits) -> None:
    """Passes two training images through a network and checks the output of each part.

    The network runs in evaluation mode. Weights and the state of random generators do not change.

    Raises:
        TrainingFailed: an augmentation, a routing, the network, its decoder or the loss returns something other than its
            interface promises. The message names the part, the expected and the actual value.
    """
    batch = make_first_batch(cell, network, data, IMAGES)
    _check_batch(cell, batch)
    network.eval()
    routings = [module for module in network.modules() if isinstance(module, Routing)]
    # Hooks see the arguments and the output of each routing during the forward pass, whatever network calls it.
    hooks = [routing.register_forward_hook(partial(_check_routing, cell)) for routing in routings]
    devices = [batch.images.device] if batch.images.is_cuda else []
    # The forked random state leaves the training that follows as it would be without the check.
    try:
        with torch.random.fork_rng(devices):
            if isinstance(network, SelfSupervised):
                _check_loss(f"the objective of {cell.network}", network.objective(batch))
            else:
                scores = _check_network(cell, network, batch)
                progress = torch.zeros((), dtype=scores.dtype, device=scores.device)
                loss = make_loss(cell)(scores.requires_grad_(), batch.labels, progress)
                _check_loss(f"the loss {cell.loss}", loss)
    finally:
        for hook in hooks:
            hook.remove()


def _check_batch(cell: Cell, batch: Batch) -> None:
    dataset = dataset_of(cell)
    count, label_count = len(batch.images), dataset.labels_an_image
    label_count = dataset.classes if label_count == ANY_NUMBER else label_count
    part = f"the augmentations of {cell.dataset}"
    _check_tensor(f"{part}: images", batch.images, [count, *dataset.image])
    is_single = dataset.labels_an_image == 1
    _check_shape(f"{part}: labels", batch.labels, [count] if is_single else [count, label_count])


def _check_routing(cell: Cell, routing: Routing, inputs: tuple[Any, ...], parents: Any) -> None:
    """Checks, as a forward hook, the parents that a routing returns against the promise of `Routing.forward`."""
    part = f"the routing {cell.routing} ({routing.child_count} children, {routing.parent_count} parents)"
    if not (isinstance(parents, tuple) and len(parents) == 2):
        raise _make_failure(part, "poses and activations of the parents", _describe_value(parents))
    child_poses, weights = inputs[:2]
    poses, activations = parents
    shape = [len(child_poses), routing.parent_count, child_poses.shape[2], weights.shape[3]]
    _check_tensor(f"{part}: poses [N, J, R, E]", poses, shape, like=child_poses)
    _check_activations(f"{part}: activations [N, J]", activations, shape[:2], like=child_poses)


@torch.no_grad()
def _check_network(cell: Cell, network: nn.Module, batch: Batch) -> Tensor:
    """Checks the outputs of a network and returns its class scores ``[B, classes]``."""
    images, classes = batch.images, dataset_of(cell).classes
    shape, part = [len(images), classes], f"the network {cell.network}"
    if not isinstance(network, CapsuleNetwork):
        scores = network(images)
        _check_tensor(f"{part}: scores [B, classes]", scores, shape, like=images)
        return scores
    capsules = network.capsules(images)
    if not isinstance(capsules, Capsules):
        raise _make_failure(f"{part}: capsules", "capsbench.networks.layers.Capsules", _describe_value(capsules))
    _check_activations(f"{part}: class activations [B, classes]", capsules.activations, shape, like=images)
    if network.decoder is not None:
        _check_tensor(f"{part}: class poses [B, classes, R, E]", capsules.poses, [*shape, *capsules.poses.shape[2:4]])
        decoded = network.decoder(capsules.poses, batch.labels)
        _check_tensor(f"{part}: images of its decoder [B, C, H, W]", decoded, list(images.shape), like=images)
    return capsules.activations


def _check_loss(part: str, loss: Any) -> None:
    if not isinstance(loss, Tensor) or loss.dim() > 0 or not loss.requires_grad:
        actual = _describe_value(loss)
        if isinstance(loss, Tensor) and not loss.requires_grad:
            actual += " without a gradient"
        raise _make_failure(part, "a tensor of one number with a gradient, the mean over images", actual)


def _check_activations(part: str, activations: Any, shape: list[int], like: Tensor) -> None:
    _check_tensor(part, activations, shape, like)
    low, high = (float(bound) for bound in activations.aminmax())
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise _make_failure(part, "numbers from 0 to 1", f"{low:.6g} to {high:.6g}")


def _check_tensor(part: str, value: Any, shape: list[int], like: Tensor | None = None) -> None:
    """Raises TrainingFailed unless a value is a finite tensor of a shape, with the dtype and device of ``like``."""
    _check_shape(part, value, shape)
    if like is not None and (value.dtype, value.device) != (like.dtype, like.device):
        raise _make_failure(part, f"{like.dtype} on {like.device}", f"{value.dtype} on {value.device}")
    if not value.isfinite().all():
        infinite = int((~value.isfinite()).sum())
        raise _make_failure(part, "finite numbers", f"{infinite} of {value.numel()} numbers that are not finite")


def _check_shape(part: str, value: Any, shape: list[int]) -> None:
    if not isinstance(value, Tensor) or list(value.shape) != shape:
        raise _make_failure(part, f"the shape {shape}", _describe_value(value))


def _describe_value(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{list(value.shape)}"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, tuple | list) else "")


def _make_failure(part: str, expected: str, actual: str) -> TrainingFailed:
    return TrainingFailed(f"{part}: expected {expected}, got {actual}")
