"""One step of the optimiser, and what it makes small."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from capsbench.data.images import Batch
from capsbench.networks.base import CapsuleNetwork, SelfSupervised
from capsbench.records.cell import Cell
from capsbench.training.losses import make_loss


class TrainingStep:
    """One optimiser step of a cell, as training and the speed measure both take it."""

    def __init__(self, cell: Cell, network: nn.Module) -> None:
        self.cell = cell
        self.network = network
        self.objective = objective_of(cell, network)
        if cell.compile != "none":
            mode = "reduce-overhead" if cell.compile == "cuda-graphs" else None
            self.objective = torch.compile(self.objective, mode=mode)
        self.optimizer = make_optimizer(cell, network)

    def __call__(self, batch: Batch, progress: float) -> Tensor:
        """The loss of the batch before the step, on its device; it may not be finite, and then neither are the weights."""
        self.optimizer.zero_grad()
        with arithmetic(self.cell):
            # A tensor, since a compiled function is compiled anew for another number.
            loss = self.objective(batch, torch.tensor(progress, dtype=batch.images.dtype, device=batch.images.device))
        loss.backward()
        if self.cell.clip > 0:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.cell.clip)
        self.optimizer.step()
        return loss.detach()


Objective = Callable[[Batch, Tensor], Tensor]
"""(batch, progress in [0, 1]) -> the mean loss of its images."""


def objective_of(cell: Cell, network: nn.Module) -> Objective:
    """What the cell's network is trained to make small: its own objective, or the cell's loss with the reconstruction."""
    if isinstance(network, SelfSupervised):
        return lambda batch, progress: network.objective(batch)
    loss = make_loss(cell)
    if not isinstance(network, CapsuleNetwork) or network.decoder is None:
        return lambda batch, progress: loss(network(batch.images), batch.labels, progress)

    def with_reconstruction(batch: Batch, progress: Tensor) -> Tensor:
        capsules = network.capsules(batch.images)
        errors = reconstruction_errors(network, capsules.poses, batch)
        return loss(capsules.activations, batch.labels, progress) + cell.reconstruction_weight * errors.mean()

    return with_reconstruction


def reconstruction_errors(network: CapsuleNetwork, poses: Tensor, batch: Batch) -> Tensor:
    """Sum of squared pixel errors ``[B]`` of what the decoder makes of the labelled class capsules ``[B, classes, R, E]``.

    Where an image shows several objects of which each has a target, each is reconstructed alone (Sabour 2017, section 6). Where
    the image is all that is known of them, it is reconstructed from all of their capsules together.
    """
    decoder = network.decoder
    assert decoder is not None
    if batch.targets is None:
        return squared_errors(decoder(poses, batch.labels), batch.images)
    objects = zip(batch.labels.view(len(poses), -1).unbind(1), batch.targets.unbind(1), strict=True)
    return torch.stack([squared_errors(decoder(poses, labels), targets) for labels, targets in objects]).sum(dim=0)


def squared_errors(made: Tensor, images: Tensor) -> Tensor:
    """The sum of squared pixel errors ``[B]`` of images ``[B, C, H, W]``."""
    return (made - images).square().sum(dim=(1, 2, 3))


def arithmetic(cell: Cell) -> AbstractContextManager[None]:
    """The cell's precision, for what runs inside: mixed with ``bfloat16`` (torch's autocast), else that of the tensors."""
    return torch.autocast(cell.device.partition(":")[0], torch.bfloat16, enabled=cell.precision == "bfloat16")


def make_optimizer(cell: Cell, network: nn.Module) -> Optimizer:
    """The cell's optimiser over all parameters of the network."""
    parameters, rate, decay = network.parameters(), cell.learning_rate, cell.weight_decay
    fused = cell.fused_optimizer or None  # None: torch's own choice
    if cell.optimizer == "sgd":
        return SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay, fused=fused)
    return (AdamW if cell.optimizer == "adamw" else Adam)(parameters, lr=rate, weight_decay=decay, fused=fused)
