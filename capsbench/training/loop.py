"""The one training loop, for every contender."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, ExponentialLR, LRScheduler, OneCycleLR

from capsbench.data.augment import Augmented, Shift
from capsbench.data.images import Augmentation, Batch, Images, Splits
from capsbench.data.warps import Warp
from capsbench.errors import TrainingFailed
from capsbench.networks.base import SelfSupervised
from capsbench.records.cell import Cell
from capsbench.training.evaluate import predicted, right, scores_of
from capsbench.training.step import TrainingStep, arithmetic

VERSION = 1
"""Raised when a change to the training loop or its step alters the weights: networks of an earlier version are then stale."""

SECONDS_BETWEEN_REPORTS = 0.3


class Validation(NamedTuple):
    """What an epoch is judged by: ``accuracy`` (fraction), or the ``loss`` of a network that is not about classes."""

    metric: str
    value: float

    @property
    def merit(self) -> float:
        """The value, or its negative where less is better."""
        return -self.value if self.metric == "loss" else self.value

    def __str__(self) -> str:
        return f"{self.metric} {self.value:.4g}" if self.metric == "loss" else f"{self.metric} {self.value:.1%}"


class Progress(NamedTuple):
    """How far training is: ``done`` of 1, the epoch from 1, its mean loss so far, what the last epoch was judged by."""

    done: float
    epoch: int
    epochs: int
    loss: float
    validation: Validation | None


def _make_schedule(cell: Cell, optimizer: Optimizer, steps: int) -> LRScheduler:
    """The cell's learning rate, advanced once a step."""
    if cell.schedule == "one-cycle":
        # The momentum stays as the optimiser has it: the rate alone is what the cell speaks of.
        return OneCycleLR(optimizer, cell.learning_rate, max(steps * cell.epochs, 2), cycle_momentum=False)
    if cell.schedule == "exponential":
        return ExponentialLR(optimizer, cell.decay ** (1 / (cell.decay_steps or steps)))
    return ConstantLR(optimizer, factor=1.0)


def train(
    cell: Cell, network: nn.Module, data: Splits, on_progress: Callable[[Progress], None] = lambda progress: None
) -> list[dict[str, float]]:
    """Trains a network in place on the training images; the test images are never looked at.

    The order of the data and its augmentation are drawn from the cell's seed alone, so every contender of a seed sees the
    same, and an image the same whatever the batch size.

    Returns:
        One entry an epoch: epoch (from 1), loss (mean over its images), validation_accuracy (fraction; of a network that is
        not about classes validation_loss; of few training images not after every epoch), learning_rate (at its end), seconds
        (since the start).

    Raises:
        TrainingFailed: the loss stopped being finite; the message says in which epoch.
    """
    # Apart, so that the order of the data does not depend on what its images go through.
    of_order, of_augmentation = (torch.Generator().manual_seed(seed) for seed in (cell.seed, cell.seed + 2**31))
    augmentations = augmentations_of(cell, network, data)
    take_step = TrainingStep(cell, network)
    count, device = len(data.train.labels), data.train.images.device
    steps = math.ceil(count / cell.batch_size)
    schedule = _make_schedule(cell, take_step.optimizer, steps)
    history: list[dict[str, float]] = []
    best, best_epoch, best_state = -math.inf, 0, None
    started = reported = time.monotonic()
    validation = None
    # Where nothing hangs on it, validation passes over no more images than training does.
    judged = cell.patience or cell.stop_at
    validated_every = 1 if judged else max(1, len(data.validation.labels) // count)

    for epoch in range(1, cell.epochs + 1):
        network.train()
        total, seen = torch.zeros((), dtype=torch.float64, device=device), 0
        augmented = Augmented(data.train, augmentations, of_augmentation)
        order = torch.randperm(count, generator=of_order).to(device)
        for which in order.split(cell.batch_size):
            done = ((epoch - 1) * steps + math.ceil(seen / cell.batch_size)) / (steps * cell.epochs)
            loss = take_step(augmented.batch(which), done)
            total += loss * len(which)
            rate = take_step.optimizer.param_groups[0]["lr"]
            schedule.step()
            reporting = time.monotonic() - reported > SECONDS_BETWEEN_REPORTS
            # Reading the loss makes a GPU wait, so there it is read now and then.
            if (reporting or device.type == "cpu") and not math.isfinite(total):
                raise TrainingFailed(f"the loss became {float(loss)} in epoch {epoch}, after {seen} of its images")
            seen += len(which)
            if reporting:
                reported = time.monotonic()
                on_progress(Progress(done, epoch, cell.epochs, float(total) / seen, validation))

        noted = {"epoch": epoch, "loss": float(total) / seen}
        if epoch % validated_every == 0 or epoch == cell.epochs:
            try:
                validation = _validated(cell, network, data)
            except TrainingFailed as failure:
                raise TrainingFailed(f"{failure} after epoch {epoch}") from None
            noted[f"validation_{validation.metric}"] = validation.value
        history.append(noted | {"learning_rate": rate, "seconds": round(time.monotonic() - started, 3)})
        on_progress(Progress(epoch / cell.epochs, epoch, cell.epochs, float(total) / seen, validation))
        if cell.stop_at and validation is not None and validation.merit >= cell.stop_at:
            break
        if cell.patience:
            assert validation is not None
            if validation.merit > best:
                best, best_epoch, best_state = validation.merit, epoch, copy.deepcopy(network.state_dict())
            elif epoch - best_epoch >= cell.patience:
                break
    if best_state is not None:
        network.load_state_dict(best_state)
    return history


def augmentations_of(cell: Cell, network: nn.Module, data: Splits) -> tuple[Augmentation, ...]:
    """What training images go through: the data set's own, the cell's, the network's."""
    asked: list[Augmentation] = [*data.augmentations]
    if cell.shift:
        asked.append(Shift(cell.shift))
    if cell.warp == "affnist":  # last: it uses all the room there is, so that a shift after it would lose ink
        asked.append(Warp())
    if isinstance(network, SelfSupervised):
        asked += network.augmentations()
    return tuple(asked)


def first_batch(cell: Cell, network: nn.Module, data: Splits, most: int | None = None) -> Batch:
    """The first images of the training set as a training step gets them, at most so many, or as many as a batch has."""
    augmented = Augmented(data.train, augmentations_of(cell, network, data), torch.Generator().manual_seed(cell.seed))
    return augmented.batch(
        torch.arange(min(most or cell.batch_size, len(data.train.labels)), device=data.train.images.device)
    )


def _validated(cell: Cell, network: nn.Module, data: Splits) -> Validation:
    if isinstance(network, SelfSupervised):
        return Validation("loss", _validation_loss(cell, network, data.validation))
    scores = scores_of(cell, network, data.validation.images)
    labels = data.validation.labels
    return Validation("accuracy", float(right(predicted(scores, labels), labels).double().mean()))


@torch.no_grad()
def _validation_loss(cell: Cell, network: SelfSupervised, images: Images) -> float:
    """The mean objective over images that are augmented in one way for all epochs and cells."""
    network.eval()
    augmented = Augmented(images, network.augmentations(), torch.Generator().manual_seed(0))
    total = 0.0
    for which in torch.arange(len(images.labels), device=images.images.device).split(cell.batch_size):
        with arithmetic(cell):
            total += float(network.objective(augmented.batch(which))) * len(which)
    if not math.isfinite(total):
        raise TrainingFailed("the network's validation loss is not finite")
    return total / len(images.labels)
