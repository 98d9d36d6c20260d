"""What the parts of a network, of the user's own above all, promise to give: held against it before and after training."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from capsbench import registry
from capsbench.data.images import Batch, Splits
from capsbench.errors import TrainingFailed
from capsbench.networks.base import CapsuleNetwork, SelfSupervised
from capsbench.networks.layers import Capsules
from capsbench.records.cell import Cell
from capsbench.routing.base import Routing
from capsbench.training.loop import first_batch
from capsbench.training.losses import make_loss

IMAGES = 2
"""Training images that are looked at."""

TOLERANCE = 1e-3
"""By how much an activation may leave [0, 1]: what rounding does to a length."""


def check_contract(cell: Cell, network: nn.Module, data: Splits) -> None:
    """Passes two training images through a network and looks at what each of its parts makes of them.

    In evaluation mode; weights and random numbers stay as they are.

    Raises:
        TrainingFailed: an augmentation, a routing, the network, its decoder or the loss gives something else than it promises;
            the message names the part, what came and what is right.
    """
    batch = first_batch(cell, network, data, IMAGES)
    _check_batch(cell, batch)
    network.eval()
    routings = [module for module in network.modules() if isinstance(module, Routing)]
    hooks = [routing.register_forward_hook(partial(_check_routing, cell)) for routing in routings]
    devices = [batch.images.device] if batch.images.is_cuda else []
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
    dataset = registry.get("dataset", cell.dataset)
    count, shown = len(batch.images), dataset.labels_an_image
    part = f"the augmentations of {cell.dataset}"
    _check_tensor(f"{part}: images", batch.images, [count, *dataset.image])
    _check_shape(f"{part}: labels", batch.labels, [count] if shown == 1 else [count, shown])


def _check_routing(cell: Cell, routing: Routing, given: tuple[Any, ...], parents: Any) -> None:
    """A hook: the poses and activations of the parents, as `Routing.forward` promises them."""
    part = f"the routing {cell.routing} ({routing.child_count} children, {routing.parent_count} parents)"
    if not (isinstance(parents, tuple) and len(parents) == 2):
        raise _broken(part, "poses and activations of the parents", _described(parents))
    poses, weights = given[:2]
    found, activations = parents
    shape = [len(poses), routing.parent_count, poses.shape[2], weights.shape[3]]
    _check_tensor(f"{part}: poses [N, J, R, E]", found, shape, like=poses)
    _check_activations(f"{part}: activations [N, J]", activations, shape[:2], like=poses)


@torch.no_grad()
def _check_network(cell: Cell, network: nn.Module, batch: Batch) -> Tensor:
    """The class scores ``[B, classes]`` of a network that gives what it should."""
    images, classes = batch.images, registry.get("dataset", cell.dataset).classes
    shape, part = [len(images), classes], f"the network {cell.network}"
    if not isinstance(network, CapsuleNetwork):
        scores = network(images)
        _check_tensor(f"{part}: scores [B, classes]", scores, shape, like=images)
        return scores
    found = network.capsules(images)
    if not isinstance(found, Capsules):
        raise _broken(f"{part}: capsules", "capsbench.networks.layers.Capsules", _described(found))
    _check_activations(f"{part}: class activations [B, classes]", found.activations, shape, like=images)
    if network.decoder is not None:
        _check_tensor(f"{part}: class poses [B, classes, R, E]", found.poses, [*shape, *found.poses.shape[2:4]])
        made = network.decoder(found.poses, batch.labels)
        _check_tensor(f"{part}: images of its decoder [B, C, H, W]", made, list(images.shape), like=images)
    return found.activations


def _check_loss(part: str, loss: Any) -> None:
    if not isinstance(loss, Tensor) or loss.dim() > 0 or not loss.requires_grad:
        raise _broken(part, "a tensor of one number, the mean over images, that has a gradient", _described(loss))


def _check_activations(part: str, found: Any, shape: list[int], like: Tensor) -> None:
    _check_tensor(part, found, shape, like)
    low, high = (float(bound) for bound in found.aminmax())
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise _broken(part, "numbers from 0 to 1", f"{low:.6g} to {high:.6g}")


def _check_tensor(part: str, found: Any, shape: list[int], like: Tensor | None = None) -> None:
    """Raises TrainingFailed unless it is finite, of this shape, and of the floating-point type and on the device of ``like``."""
    _check_shape(part, found, shape)
    if like is not None and (found.dtype, found.device) != (like.dtype, like.device):
        raise _broken(part, f"{like.dtype} on {like.device}", f"{found.dtype} on {found.device}")
    if not found.isfinite().all():
        raise _broken(part, "finite numbers", f"{int((~found.isfinite()).sum())} of {found.numel()} that are not")


def _check_shape(part: str, found: Any, shape: list[int]) -> None:
    if not isinstance(found, Tensor) or list(found.shape) != shape:
        raise _broken(part, f"the shape {shape}", _described(found))


def _described(found: Any) -> str:
    if isinstance(found, Tensor):
        return f"{list(found.shape)}" + ("" if found.requires_grad else " without a gradient")
    return f"a {type(found).__name__}" + (f" of {len(found)}" if isinstance(found, tuple | list) else "")


def _broken(part: str, expected: str, found: str) -> TrainingFailed:
    return TrainingFailed(f"{part}: expected {expected}, got {found}")
