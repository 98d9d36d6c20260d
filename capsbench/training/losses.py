"""Training losses over class scores: margin (Sabour 2017), spread (Hinton 2018), cross-entropy.

A loss is called as ``loss(scores [B, classes], labels [B], progress)`` with progress in [0, 1] over the whole training;
labels are ``[B, K]`` where an image shows K objects. Arguments with a default are options: ``--axis growth=sigmoid``.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from capsbench import registry
from capsbench.component import Component
from capsbench.errors import check_choice
from capsbench.networks.layers import presence
from capsbench.records.cell import Cell


def log_probabilities(scores: Tensor, capsules: bool) -> Tensor:
    """Log-probabilities ``[B, classes]`` of class scores.

    The scores of a CNN are logits. Those of a capsule network are activations in [0, 1], which are divided by their sum:
    a convention of this suite, since neither paper calls them probabilities of exclusive classes.
    """
    if not capsules:
        return F.log_softmax(scores, dim=1)
    # The floor keeps log finite where every activation has underflowed to 0; there all classes get the same.
    floored = scores.clamp_min(torch.finfo(scores.dtype).tiny)
    return floored.log() - floored.sum(dim=1, keepdim=True).log()


class Loss(Component):
    """Base class of a loss.

    Args:
        capsules: whether the scores are activations of capsules rather than logits.
    """

    changing: ClassVar[str] = ""
    """What it does over a training by itself, after ``the loss``; empty where it stays what it is."""

    def __init__(self, capsules: bool) -> None:
        super().__init__()
        self.capsules = capsules


class MarginLoss(Loss):
    """The margin loss of Sabour 2017, equation 4.

    ``T max(0, m+ - |v|)^2 + lambda (1 - T) max(0, |v| - m-)^2``, summed over classes, mean over images.

    Args:
        present: m+, the length above which a class that is there costs nothing.
        absent: m-, the length below which a class that is not there costs nothing.
        down_weight: lambda.
        scale: multiplies the loss. The authors' code has 0.5 and the mean over the classes, so 0.05 for 10 of them, by
            which the reconstruction weighs 20 times more.
    """

    def __init__(
        self,
        capsules: bool,
        *,
        present: float = 0.9,
        absent: float = 0.1,
        down_weight: float = 0.5,
        scale: float = 1.0,
    ) -> None:
        super().__init__(capsules)
        self.present, self.absent, self.down_weight, self.scale = present, absent, down_weight, scale

    def forward(self, scores: Tensor, labels: Tensor, progress: float | Tensor) -> Tensor:
        shown = presence(labels, scores.shape[1], scores.dtype)
        missed = shown * (self.present - scores).clamp_min(0).square()
        wrong = self.down_weight * (1 - shown) * (scores - self.absent).clamp_min(0).square()
        return self.scale * (missed + wrong).sum(dim=1).mean()


class SpreadLoss(Loss):
    """The spread loss of Hinton 2018, equation 3, its margin m growing over the training.

    ``sum over i != t of max(0, m - (a_t - a_i))^2``, mean over images; where an image shows several classes t, their mean.

    Args:
        growth: of the margin with the progress p in [0, 1]: ``linear`` from 0.2 to 0.9 (the paper), or ``sigmoid``,
            ``0.2 + 0.79 sigmoid(min(10, s - 4))`` with ``s = 14 p`` (the authors' code and Gritzman 2019 have
            s = step / 50,000, which reaches the bound after 700,000 steps).
    """

    changing = "grows with its margin over the training"

    def __init__(self, capsules: bool, *, growth: str = "linear") -> None:
        super().__init__(capsules)
        check_choice("growth", growth, ("linear", "sigmoid"))
        self.growth = growth

    def margin(self, progress: float | Tensor) -> float | Tensor:
        """m at a progress in [0, 1]."""
        if self.growth == "linear":
            return 0.2 + 0.7 * progress
        return 0.2 + 0.79 * torch.sigmoid(torch.as_tensor(14 * progress - 4).clamp_max(10))

    def forward(self, scores: Tensor, labels: Tensor, progress: float | Tensor) -> Tensor:
        targets = labels.view(len(labels), -1)
        gap = scores.gather(1, targets).unsqueeze(2) - scores.unsqueeze(1)
        short = (self.margin(progress) - gap).clamp_min(0).square()
        others = 1 - presence(labels, scores.shape[1], scores.dtype)
        return (short * others.unsqueeze(1)).sum(dim=2).mean()


class CrossEntropy(Loss):
    """Cross-entropy of logits, or of activations divided by their sum (`log_probabilities`).

    Where an image shows several classes, each of them is as probable.
    """

    def forward(self, scores: Tensor, labels: Tensor, progress: float | Tensor) -> Tensor:
        logs = log_probabilities(scores, self.capsules)
        return -logs.gather(1, labels.view(len(labels), -1)).mean()


def make_loss(cell: Cell) -> Loss:
    """The loss of a cell with its options."""
    assert cell.loss is not None
    loss: Loss = registry.get("loss", cell.loss)(capsules=cell.routing is not None, **cell.component_options("loss"))
    return loss
