"""The one training loop, for every contender."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, ExponentialLR, LRScheduler, OneCycleLR

from capsbench import registry
from capsbench.cell import Cell
from capsbench.data.base import Images, Splits
from capsbench.errors import TrainingFailed
from capsbench.models.base import CapsuleNetwork

SECONDS_BETWEEN_REPORTS = 0.3


class Progress(NamedTuple):
    """How far training is: ``done`` of 1, the epoch from 1, its mean loss so far, the last epoch's validation accuracy."""

    done: float
    epoch: int
    epochs: int
    loss: float
    validation_accuracy: float | None


class TrainingStep:
    """One optimiser step of a cell, as training and the speed measure both take it."""

    def __init__(self, cell: Cell, network: nn.Module) -> None:
        self.cell = cell
        self.network = network
        self.loss = registry.get("loss", cell.loss)(capsules=cell.routing is not None)
        self.optimizer = make_optimizer(cell, network)

    def __call__(self, images: Tensor, labels: Tensor, progress: float) -> float:
        """The loss of the batch before the step; raises TrainingFailed where it is not finite."""
        self.optimizer.zero_grad()
        loss = self._loss(images, labels, progress)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingFailed(f"the loss became {value}")
        loss.backward()
        if self.cell.clip > 0:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.cell.clip)
        self.optimizer.step()
        return value

    def _loss(self, images: Tensor, labels: Tensor, progress: float) -> Tensor:
        if not isinstance(self.network, CapsuleNetwork) or self.network.decoder is None:
            return self.loss(self.network(images), labels, progress)
        capsules = self.network.capsules(images)
        reconstruction = self.network.decoder(capsules.poses, labels)
        pixels = (reconstruction - images).square().sum(dim=(1, 2, 3)).mean()
        return self.loss(capsules.activations, labels, progress) + self.cell.reconstruction_weight * pixels


def make_optimizer(cell: Cell, network: nn.Module) -> Optimizer:
    """The cell's optimiser over all parameters of the network."""
    parameters, rate, decay = network.parameters(), cell.learning_rate, cell.weight_decay
    if cell.optimizer == "sgd":
        return SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay)
    return (AdamW if cell.optimizer == "adamw" else Adam)(parameters, lr=rate, weight_decay=decay)


def _make_schedule(cell: Cell, optimizer: Optimizer, steps: int) -> LRScheduler:
    """The cell's learning rate, advanced once a step."""
    if cell.schedule == "one-cycle":
        # The momentum stays as the optimiser has it: the rate alone is what the cell speaks of.
        return OneCycleLR(optimizer, cell.learning_rate, max(steps * cell.epochs, 2), cycle_momentum=False)
    if cell.schedule == "exponential":
        return ExponentialLR(optimizer, cell.decay ** (1 / steps))
    return ConstantLR(optimizer, factor=1.0)


def train(
    cell: Cell, network: nn.Module, data: Splits, on_progress: Callable[[Progress], None] = lambda progress: None
) -> list[dict[str, float]]:
    """Trains a network in place on the training images; the test images are never looked at.

    The order of the data and the shifts are drawn from the cell's seed alone, so every contender of a seed sees the same.

    Returns:
        One entry an epoch: epoch (from 1), loss (mean over its images), validation_accuracy (fraction), learning_rate (at
        its end), seconds (since the start).

    Raises:
        TrainingFailed: the loss stopped being finite; the message says in which epoch.
    """
    order = torch.Generator().manual_seed(cell.seed)
    take_step = TrainingStep(cell, network)
    steps = math.ceil(len(data.train.labels) / cell.batch_size)
    schedule = _make_schedule(cell, take_step.optimizer, steps)
    history: list[dict[str, float]] = []
    best, best_epoch, best_state = -1.0, 0, None
    started = reported = time.monotonic()
    accuracy = None

    for epoch in range(1, cell.epochs + 1):
        network.train()
        total, seen = 0.0, 0
        for batch in torch.randperm(len(data.train.labels), generator=order).split(cell.batch_size):
            done = ((epoch - 1) * steps + math.ceil(seen / cell.batch_size)) / (steps * cell.epochs)
            images = shifted(data.train.images[batch], cell.shift, order)
            try:
                total += take_step(images, data.train.labels[batch], done) * len(batch)
            except TrainingFailed as failure:
                raise TrainingFailed(f"{failure} in epoch {epoch}, after {seen} of its images") from None
            rate = take_step.optimizer.param_groups[0]["lr"]
            schedule.step()
            seen += len(batch)
            if time.monotonic() - reported > SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                on_progress(Progress(done, epoch, cell.epochs, total / seen, accuracy))

        try:
            accuracy = _accuracy(network, data.validation, cell.batch_size)
        except TrainingFailed as failure:
            raise TrainingFailed(f"{failure} after epoch {epoch}") from None
        history.append(
            {
                "epoch": epoch,
                "loss": total / seen,
                "validation_accuracy": accuracy,
                "learning_rate": rate,
                "seconds": round(time.monotonic() - started, 3),
            }
        )
        on_progress(Progress(epoch / cell.epochs, epoch, cell.epochs, total / seen, accuracy))
        if cell.patience:
            if accuracy > best:
                best, best_epoch, best_state = accuracy, epoch, copy.deepcopy(network.state_dict())
            elif epoch - best_epoch >= cell.patience:
                break
    if best_state is not None:
        network.load_state_dict(best_state)
    return history


def shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Images ``[B, C, H, W]``, each moved by its own -most..most pixels along both axes; what comes in is 0."""
    if most == 0:
        return images
    batch, _, height, width = images.shape
    start = torch.randint(0, 2 * most + 1, (2, batch, 1), generator=generator).to(images.device)
    rows = start[0] + torch.arange(height, device=images.device)
    columns = start[1] + torch.arange(width, device=images.device)
    padded = F.pad(images, (most, most, most, most)).movedim(1, -1)
    which = torch.arange(batch, device=images.device)
    return padded[which[:, None, None], rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()


@torch.no_grad()
def scores_of(network: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """Class scores ``[N, classes]`` in evaluation mode, a batch at a time; raises TrainingFailed if any is not finite."""
    network.eval()
    scores = torch.cat([network(batch) for batch in images.split(batch_size)])
    if not scores.isfinite().all():
        raise TrainingFailed("the network's scores are not finite")
    return scores


def _accuracy(network: nn.Module, data: Images, batch_size: int) -> float:
    predictions = scores_of(network, data.images, batch_size).argmax(dim=1)
    return float((predictions == data.labels).double().mean())
