"""One optimiser step, and the objective that it minimises."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from capsbench.data.images import Batch
from capsbench.networks.base import CapsuleNetwork, SelfSupervised
from capsbench.records.cell import Cell
from capsbench.training.losses import make_loss
from capsbench.training.optimizers import SGD, Adam, AdamW


class TrainingStep:
    """One optimiser step of a cell; training and the speed measure share it."""

    def __init__(self, cell: Cell, network: nn.Module) -> None:
        self.cell = cell
        self.network = network
        self.objective = make_objective(cell, network)
        if cell.compile != "none":
            mode = "reduce-overhead" if cell.compile == "cuda-graphs" else None
            # Only forward and loss are compiled; the backward pass follows from them, and the optimiser has fused kernels.
            self.objective = torch.compile(self.objective, mode=mode)
        self.optimizer = make_optimizer(cell, network)

    def __call__(self, batch: Batch, progress: float) -> Tensor:
        """Takes a step and returns the loss before it, on the batch's device. If the loss is not finite, nor are the weights."""
        self.optimizer.zero_grad()
        with use_precision(self.cell):
            # A tensor, because torch.compile would recompile the objective for each new Python number.
            loss = self.objective(batch, torch.tensor(progress, dtype=batch.images.dtype, device=batch.images.device))
        # The backward pass stays outside of autocast, as torch recommends: it repeats the dtypes of the forward pass.
        loss.backward()
        if self.cell.clip > 0:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.cell.clip)
        self.optimizer.step()
        return loss.detach()


Objective = Callable[[Batch, Tensor], Tensor]
"""A function (batch, progress in [0, 1]) -> the mean loss of the batch's images."""


def make_objective(cell: Cell, network: nn.Module) -> Objective:
    """Returns the objective that training minimises: the network's own, or the cell's loss plus the reconstruction error."""
    if isinstance(network, SelfSupervised):
        return lambda batch, progress: network.objective(batch)
    loss = make_loss(cell)
    if not isinstance(network, CapsuleNetwork) or network.decoder is None:
        return lambda batch, progress: loss(network(batch.images), batch.labels, progress)

    def with_reconstruction(batch: Batch, progress: Tensor) -> Tensor:
        # Class poses are decoded to images; activations are the class scores. One forward pass gives both.
        capsules = network.capsules(batch.images)
        errors = compute_reconstruction_errors(network, capsules.poses, batch)
        return loss(capsules.activations, batch.labels, progress) + cell.reconstruction_weight * errors.mean()

    return with_reconstruction


def compute_reconstruction_errors(network: CapsuleNetwork, poses: Tensor, batch: Batch) -> Tensor:
    """Sums squared pixel errors ``[B]`` of images decoded from the labelled class capsules, of poses ``[B, classes, R, E]``.

    If an image shows several objects and each has a target, each object is reconstructed separately (Sabour 2017, section 6). If
    there are no targets, the image is reconstructed from the capsules of all its objects together; if it shows none, from masked
    capsules alone.
    """
    decoder = network.decoder
    assert decoder is not None
    if batch.targets is None:
        return sum_squared_errors(decoder(poses, batch.labels), batch.images)
    objects = zip(batch.labels.view(len(poses), -1).unbind(1), batch.targets.unbind(1), strict=True)
    return torch.stack([sum_squared_errors(decoder(poses, labels), targets) for labels, targets in objects]).sum(dim=0)


def sum_squared_errors(reconstructions: Tensor, images: Tensor) -> Tensor:
    """Sums squared pixel errors ``[B]`` of images ``[B, C, H, W]``."""
    return (reconstructions - images).square().sum(dim=(1, 2, 3))


def use_precision(cell: Cell) -> AbstractContextManager[None]:
    """Returns a context with the cell's precision: torch's autocast for ``bfloat16``, otherwise that of the tensors."""
    return torch.autocast(cell.device.partition(":")[0], torch.bfloat16, enabled=cell.precision == "bfloat16")


def make_optimizer(cell: Cell, network: nn.Module) -> Optimizer:
    """Returns the cell's optimiser over all parameters of the network."""
    parameters, rate, decay = network.parameters(), cell.learning_rate, cell.weight_decay
    # All tensors at once, by default only on a GPU: the same numbers with fewer calls from Python.
    fused = cell.fused_optimizer or None
    foreach = None if fused else True
    if cell.optimizer == "sgd":
        return SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay, fused=fused, foreach=foreach)
    return (AdamW if cell.optimizer == "adamw" else Adam)(
        parameters, lr=rate, weight_decay=decay, fused=fused, foreach=foreach
    )
