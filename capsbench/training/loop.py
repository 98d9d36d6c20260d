"""The training loop of every contender: augmentation, learning rate, validation, and then `train`, the loop itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, ExponentialLR, LRScheduler, OneCycleLR

from capsbench.data.augment import Augmented, Shift
from capsbench.data.images import Augmentation, Batch, Images, Splits
from capsbench.data.warps import Warp
from capsbench.errors import TrainingFailed
from capsbench.networks.base import SelfSupervised
from capsbench.records.cell import Cell
from capsbench.training.checkpoint import Checkpoints, MovingParts
from capsbench.training.course import Course, Validation
from capsbench.training.evaluate import compute_scores, match_labels, predict_classes
from capsbench.training.step import TrainingStep, use_precision

VERSION = 1
"""Raised by any change to the training loop or its step that alters the weights. Networks of earlier versions are then stale."""

SECONDS_BETWEEN_REPORTS = 0.3

# ---------------------------------------------------------------------------------------------------------------------
# What the loop reports


class Progress(NamedTuple):
    """Progress of the training.

    - ``done``: the fraction of all steps that have been taken, 0 to 1
    - ``epoch``: the current epoch, from 1
    - ``epochs``: the number of epochs of the cell
    - ``loss``: the mean loss of this epoch so far
    - ``validation``: the latest validation result, None before the first
    """

    done: float
    epoch: int
    epochs: int
    loss: float
    validation: Validation | None


class EpochEnded(NamedTuple):
    """The end of an epoch, with its ``entry`` of the history; a training that goes on sends its earlier epochs again."""

    entry: dict[str, float]


# ---------------------------------------------------------------------------------------------------------------------
# Data: the augmentations of training images


def list_augmentations(cell: Cell, network: nn.Module, data: Splits) -> tuple[Augmentation, ...]:
    """Returns the augmentations of training images in order: the data set's, the cell's, the network's."""
    augmentations: list[Augmentation] = [*data.augmentations]
    if cell.shift:
        augmentations.append(Shift(cell.shift))
    if cell.warp == "affnist":  # after the shift: a warp uses the whole canvas, so that a later shift would cut off ink
        augmentations.append(Warp())
    if isinstance(
        network, SelfSupervised
    ):  # last: the network's own augmentation makes its targets from the final image
        augmentations += network.augmentations()
    return tuple(augmentations)


def draw_order(cell: Cell, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Returns the indices ``[N]`` of the training images of an epoch.

    That is every image once; or, of a balanced cell, N draws with replacement, in which each class is equally likely.

    Args:
        labels: ``[N]``.
        generator: of the CPU.
    """
    if not cell.balanced:
        return torch.randperm(len(labels), generator=generator).to(labels.device)
    classes = labels.cpu()
    weights = 1 / classes.bincount().double()[classes]
    return torch.multinomial(weights, len(classes), replacement=True, generator=generator).to(labels.device)


def make_first_batch(cell: Cell, network: nn.Module, data: Splits, most: int | None = None) -> Batch:
    """Returns the first training images, augmented as in training: at most ``most`` images, by default a batch."""
    augmentations = list_augmentations(cell, network, data)
    augmented = Augmented(data.train, augmentations, torch.Generator().manual_seed(cell.seed))
    count = min(most or cell.batch_size, len(data.train.labels))
    return augmented.build_batch(torch.arange(count, device=data.train.images.device))


# ---------------------------------------------------------------------------------------------------------------------
# Learning rate


def make_schedule(cell: Cell, optimizer: Optimizer, steps: int) -> LRScheduler:
    """Returns the cell's learning-rate schedule, advanced once per step, for epochs of ``steps`` steps."""
    if cell.schedule == "one-cycle":
        # cycle_momentum is off because the cell specifies only the learning rate. OneCycleLR requires at least 2 steps.
        return OneCycleLR(optimizer, cell.learning_rate, max(steps * cell.epochs, 2), cycle_momentum=False)
    if cell.schedule == "exponential":
        # The factor `decay` is spread over `decay_steps` steps, or over an epoch, so that the rate falls smoothly.
        return ExponentialLR(optimizer, cell.decay ** (1 / (cell.decay_steps or steps)))
    return ConstantLR(optimizer, factor=1.0)


# ---------------------------------------------------------------------------------------------------------------------
# Validation


def validate_network(cell: Cell, network: nn.Module, data: Splits) -> Validation:
    """Evaluates a network on the validation images. Raises TrainingFailed if a score or the loss is not finite."""
    if isinstance(network, SelfSupervised):
        return Validation("loss", compute_validation_loss(cell, network, data.validation))
    scores = compute_scores(cell, network, data.validation.images)
    labels = data.validation.labels
    predictions = predict_classes(scores, labels, capsules=cell.has_routing)
    return Validation("accuracy", float(match_labels(predictions, labels).double().mean()))


@torch.no_grad()
def compute_validation_loss(cell: Cell, network: SelfSupervised, images: Images) -> float:
    """Returns the mean objective of a self-supervised network over the validation images."""
    network.eval()
    # A fixed seed gives every epoch and every cell the same augmented images, so that their losses are comparable.
    augmented = Augmented(images, network.augmentations(), torch.Generator().manual_seed(0))
    loss_sum = 0.0
    for indices in torch.arange(len(images.labels), device=images.images.device).split(cell.batch_size):
        with use_precision(cell):
            # The objective is a mean over the batch; its weight is the batch size, because the last batch may be smaller.
            loss_sum += float(network.objective(augmented.build_batch(indices))) * len(indices)
    if not math.isfinite(loss_sum):
        raise TrainingFailed("the network's validation loss is not finite")
    return loss_sum / len(images.labels)


# ---------------------------------------------------------------------------------------------------------------------
# The loop


def train(
    cell: Cell,
    network: nn.Module,
    data: Splits,
    on_progress: Callable[[Progress | EpochEnded], None] = lambda event: None,
    checkpoints: Checkpoints | None = None,
) -> list[dict[str, float]]:
    """Trains a network in place on the training images, and never reads the test images.

    The order of the data and its augmentation depend only on the cell's seed. All contenders of a seed therefore see the same
    images, and the augmentation of an image does not depend on the batch size.

    Args:
        checkpoints: keeps the state after each epoch, from which an interrupted training goes on.

    Returns:
        One entry per epoch: epoch (from 1), loss (mean over its images), validation_accuracy (fraction) or, for a
        self-supervised network, validation_loss (with few training images not after every epoch), learning_rate (at the end of
        the epoch), seconds (since the start, without those between an interruption and the next start).

    Raises:
        TrainingFailed: the loss is no longer finite; the message names the epoch.
    """
    # Order and augmentation draw from separate generators, so that an augmentation does not change the order of the data.
    order_generator = torch.Generator().manual_seed(cell.seed)
    augmentation_generator = torch.Generator().manual_seed(cell.seed + 2**31)
    augmentations = list_augmentations(cell, network, data)

    # A step is forward, backward and optimiser; the schedule counts steps, not epochs.
    take_step = TrainingStep(cell, network)
    image_count, device = len(data.train.labels), data.train.images.device
    steps = math.ceil(image_count / cell.batch_size)
    schedule = make_schedule(cell, take_step.optimizer, steps)

    # Validation runs once per epoch only if early stopping needs it. Otherwise it runs less often, so that it does not read more
    # images than training does.
    stops_early = cell.patience or cell.stop_at
    validation_interval = 1 if stops_early else max(1, len(data.validation.labels) // image_count)

    # An interrupted training goes on as if it had never stopped: everything that the steps change is as it was.
    parts = MovingParts(network, take_step.optimizer, schedule, order_generator, augmentation_generator)
    checkpoint = None if checkpoints is None else checkpoints.load(network)
    course = Course() if checkpoint is None else parts.restore(checkpoint)
    for entry in course.history:
        on_progress(EpochEnded(entry))  # curves begin with the first epoch

    last_report = time.monotonic()
    started = last_report - course.seconds
    while not course.is_over(cell):
        epoch = course.epoch + 1
        # One epoch takes as many images as there are, in a new order and with newly drawn augmentations.
        network.train()
        # The sum stays on the device in float64: reading it back each step would make a GPU wait.
        loss_sum, images_seen = torch.zeros((), dtype=torch.float64, device=device), 0
        augmented = Augmented(data.train, augmentations, augmentation_generator)
        order = draw_order(cell, data.train.labels, order_generator)
        for indices in order.split(cell.batch_size):
            # Losses such as the spread loss change with the progress of the whole training.
            done = ((epoch - 1) * steps + math.ceil(images_seen / cell.batch_size)) / (steps * cell.epochs)
            loss = take_step(augmented.build_batch(indices), done)
            loss_sum += loss * len(indices)
            learning_rate = take_step.optimizer.param_groups[0]["lr"]
            schedule.step()

            # On the CPU, checking every loss costs nothing. On a GPU it would stall the device, so there the check waits for
            # the next report. A NaN cannot hide meanwhile, because it stays in the sum.
            report_is_due = time.monotonic() - last_report > SECONDS_BETWEEN_REPORTS
            if (report_is_due or device.type == "cpu") and not math.isfinite(loss_sum):
                raise TrainingFailed(
                    f"the loss became {float(loss)} in epoch {epoch}, after {images_seen} of its images"
                )
            images_seen += len(indices)
            if report_is_due:
                last_report = time.monotonic()
                on_progress(Progress(done, epoch, cell.epochs, float(loss_sum) / images_seen, course.validation))

        # After the epoch: validate, extend the history, report.
        entry = {"epoch": epoch, "loss": float(loss_sum) / images_seen}
        if epoch % validation_interval == 0 or epoch == cell.epochs:
            try:
                course.validation = validate_network(cell, network, data)
            except TrainingFailed as failure:
                raise TrainingFailed(f"{failure} after epoch {epoch}") from None
            entry[f"validation_{course.validation.metric}"] = course.validation.value
        seconds = round(time.monotonic() - started, 3)
        course.history.append(entry | {"learning_rate": learning_rate, "seconds": seconds})
        on_progress(EpochEnded(course.history[-1]))
        on_progress(Progress(epoch / cell.epochs, epoch, cell.epochs, float(loss_sum) / images_seen, course.validation))

        # A training with a patience goes back to the weights of its best epoch; one that reaches `stop_at` is at its best.
        if cell.patience:
            assert course.validation is not None
            if course.validation.merit > course.best_merit:
                course.best_merit, course.best_epoch = course.validation.merit, epoch
                course.best_state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        if checkpoints is not None:
            checkpoints.save(parts.take_checkpoint(course))
    if course.best_state is not None:
        network.load_state_dict(course.best_state)
    return course.history
