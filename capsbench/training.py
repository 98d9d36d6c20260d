"""The one training loop, for every contender."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, ExponentialLR, LRScheduler, OneCycleLR

from capsbench.cell import Cell
from capsbench.data.augment import Augmentation, Augmented, Batch, Shift
from capsbench.data.base import Images, Splits
from capsbench.data.warps import Warp
from capsbench.errors import TrainingFailed
from capsbench.losses import make_loss
from capsbench.models.base import CapsuleNetwork, SelfSupervised

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

    Where an image shows several objects, each is reconstructed alone (Sabour 2017, section 6).
    """
    assert network.decoder is not None
    labels = batch.labels.view(len(batch.labels), -1)
    targets = batch.images.unsqueeze(1) if batch.targets is None else batch.targets
    errors = [
        (network.decoder(poses, labels[:, k]) - targets[:, k]).square().sum(dim=(1, 2, 3))
        for k in range(labels.shape[1])
    ]
    return torch.stack(errors).sum(dim=0)


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


def first_batch(cell: Cell, network: nn.Module, data: Splits) -> Batch:
    """The first images of the training set as a training step gets them."""
    augmented = Augmented(data.train, augmentations_of(cell, network, data), torch.Generator().manual_seed(cell.seed))
    return augmented.batch(torch.arange(min(cell.batch_size, len(data.train.labels)), device=data.train.images.device))


@torch.no_grad()
def scores_of(cell: Cell, network: nn.Module, images: Tensor) -> Tensor:
    """Class scores ``[N, classes]`` in evaluation mode, a batch at a time; raises TrainingFailed if any is not finite."""
    network.eval()
    with arithmetic(cell):
        scores = torch.cat([network(batch) for batch in images.split(cell.batch_size)])
    if not scores.isfinite().all():
        raise TrainingFailed("the network's scores are not finite")
    return scores


def predicted(scores: Tensor, labels: Tensor) -> Tensor:
    """The predicted classes, of the shape of the labels: the one of the highest score, or the K highest in ascending order."""
    if labels.dim() == 1:
        return scores.argmax(dim=1)
    return scores.topk(labels.shape[1], dim=1).indices.sort(dim=1).values


def right(predictions: Tensor, labels: Tensor) -> Tensor:
    """Which images are classified right ``[N]``: all of the labels, where an image has several."""
    return predictions == labels if labels.dim() == 1 else (predictions == labels.sort(dim=1).values).all(dim=1)


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
