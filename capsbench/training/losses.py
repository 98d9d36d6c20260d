"""Training losses over class scores: margin (Sabour 2017), spread (Hinton 2018), cross-entropy, sigmoid.

Call a loss as ``loss(scores [B, classes], labels [B], progress)``, with progress in [0, 1] over the whole training. Labels are
``[B, K]`` if an image shows K objects, and ``[B, classes]``, bool, if it shows any number of classes. Arguments with a default
are options: ``--axis growth=sigmoid``.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from capsbench import registry
from capsbench.component import Component, check_initialised
from capsbench.errors import check_choice
from capsbench.networks.layers import encode_presence
from capsbench.records.cell import Cell
from capsbench.stats.spaces import Choice
from capsbench_kernels import at_least_float32


def log_probabilities(scores: Tensor, capsules: bool) -> Tensor:
    """Converts class scores to log-probabilities ``[B, classes]``.

    The scores of a CNN are logits. The scores of a capsule network are activations in [0, 1] and are divided by their sum. That
    division is a convention of this suite: the papers do not interpret activations as probabilities of exclusive classes.
    """
    if not capsules:
        return F.log_softmax(scores, dim=1)
    # The floor keeps log finite if all activations underflow to 0; all classes then have the same probability.
    floored = scores.clamp_min(torch.finfo(scores.dtype).tiny)
    return floored.log() - floored.sum(dim=1, keepdim=True).log()


def compute_presence(scores: Tensor, capsules: bool) -> Tensor:
    """Converts class scores to the probability ``[B, classes]`` that each class is present, independently of the others.

    The activations of a capsule network are taken as they are, and logits of a CNN by their sigmoid.
    """
    return scores if capsules else scores.sigmoid()


class Loss(Component):
    """Base class of losses.

    Args:
        capsules: True if the scores are capsule activations, False if they are logits.
    """

    changing: ClassVar[str] = ""
    """A predicate for ``the loss`` that says how it changes during training by itself; empty if it does not."""

    any_number: ClassVar[bool] = False
    """True if it is defined for images that show any number of classes, with labels ``[B, classes]``, bool."""

    def __init__(self, capsules: bool) -> None:
        super().__init__()
        self.capsules = capsules


class MarginLoss(Loss):
    """The margin loss of Sabour 2017, equation 4.

    ``T max(0, m+ - |v|)^2 + lambda (1 - T) max(0, |v| - m-)^2``, summed over classes, mean over images.

    Args:
        present: m+, the length above which a present class has no loss.
        absent: m-, the length below which an absent class has no loss.
        down_weight: lambda.
        scale: multiplies the loss. The authors' code has 0.5 and a mean over the classes, which for 10 classes equals 0.05 and
            gives the reconstruction 20 times the weight.
    """

    any_number = True

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
        # T of the paper: 1 for classes that the image shows. An image may show several, so there is no single target.
        targets = encode_presence(labels, scores.shape[1], scores.dtype)
        missed = targets * (self.present - scores).clamp_min(0).square()
        # lambda < 1 keeps the many absent classes from shrinking all lengths at the start of the training.
        wrong = self.down_weight * (1 - targets) * (scores - self.absent).clamp_min(0).square()
        return self.scale * (missed + wrong).sum(dim=1).mean()


class SpreadLoss(Loss):
    """The spread loss of Hinton 2018, equation 3, with a margin m that grows during training.

    ``sum over i != t of max(0, m - (a_t - a_i))^2``, mean over images. If an image shows several classes t, their mean.

    Args:
        growth: the margin as a function of the progress p in [0, 1]: ``linear`` from 0.2 to 0.9 (the paper), or ``sigmoid``,
            ``0.2 + 0.79 sigmoid(min(10, s - 4))`` with ``s = 14 p`` (the authors' code and Gritzman 2019 have
            s = step / 50,000, which reaches the bound of 10 after 700,000 steps).
    """

    changing = "grows with its margin over the training"
    spaces = {"growth": Choice(("linear", "sigmoid"))}

    def __init__(self, capsules: bool, *, growth: str = "linear") -> None:
        super().__init__(capsules)
        check_choice("growth", growth, ("linear", "sigmoid"))
        self.growth = growth

    def compute_margin(self, progress: float | Tensor) -> float | Tensor:
        """Returns the margin m at a progress in [0, 1]."""
        # The paper starts from a small margin to avoid dead capsules in the lower layers.
        if self.growth == "linear":
            return 0.2 + 0.7 * progress
        return 0.2 + 0.79 * torch.sigmoid(torch.as_tensor(14 * progress - 4).clamp_max(10))

    def forward(self, scores: Tensor, labels: Tensor, progress: float | Tensor) -> Tensor:
        targets = labels.view(len(labels), -1)
        # gap[b, k, i] = a_t - a_i, of the k-th class t in image b and every class i.
        gap = scores.gather(1, targets).unsqueeze(2) - scores.unsqueeze(1)
        short = (self.compute_margin(progress) - gap).clamp_min(0).square()
        others = 1 - encode_presence(labels, scores.shape[1], scores.dtype)
        return (short * others.unsqueeze(1)).sum(dim=2).mean()


class CrossEntropy(Loss):
    """Cross-entropy of logits, or of activations divided by their sum (`log_probabilities`).

    If an image shows several classes, the target distribution is uniform over them.
    """

    def forward(self, scores: Tensor, labels: Tensor, progress: float | Tensor) -> Tensor:
        logs = log_probabilities(scores, self.capsules)
        return -logs.gather(1, labels.view(len(labels), -1)).mean()


class SigmoidLoss(Loss):
    """Binary cross-entropy of each class by itself, for any number of classes an image (Nam et al. 2014).

    ``-T log p - (1 - T) log(1 - p)``, summed over classes as the margin loss is, mean over images. p is the sigmoid of a CNN's
    logit; the activation of a class capsule, which lies in [0, 1], is p itself. As in torch, a logarithm is -100 at least.

    Nam, Kim, Mencia, Gurevych, Fuernkranz 2014, "Large-scale Multi-label Text Classification - Revisiting Neural Networks".
    """

    any_number = True

    def forward(self, scores: Tensor, labels: Tensor, progress: float | Tensor) -> Tensor:
        targets = encode_presence(labels, scores.shape[1], scores.dtype)
        if not self.capsules:
            return F.binary_cross_entropy_with_logits(scores, targets, reduction="none").sum(dim=1).mean()
        # A rounded length may exceed 1. Torch refuses this function under autocast, whose half precision rounds to 0 and 1.
        with torch.autocast(scores.device.type, enabled=False):
            present = at_least_float32(scores).clamp(0, 1)
            losses = F.binary_cross_entropy(present, at_least_float32(targets), reduction="none")
        return losses.sum(dim=1).mean()


def make_loss(cell: Cell) -> Loss:
    """Returns the loss of a cell, built with its options."""
    assert cell.loss is not None
    loss: Loss = registry.get("loss", cell.loss)(capsules=cell.has_routing, **cell.component_options("loss"))
    return check_initialised(loss)
