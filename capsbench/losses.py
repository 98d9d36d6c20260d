"""Training losses over class scores: margin (Sabour 2017), spread (Hinton 2018), cross-entropy.

A loss is called as ``loss(scores [B, classes], labels [B], progress)`` with progress in [0, 1] over the whole training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


class Loss(nn.Module):
    """Base class of a loss.

    Args:
        capsules: whether the scores are activations of capsules rather than logits.
    """

    def __init__(self, capsules: bool) -> None:
        super().__init__()
        self.capsules = capsules


class MarginLoss(Loss):
    """The margin loss of Sabour 2017, equation 4.

    ``T max(0, 0.9 - |v|)^2 + 0.5 (1 - T) max(0, |v| - 0.1)^2``, summed over classes, mean over images.
    """

    def forward(self, scores: Tensor, labels: Tensor, progress: float) -> Tensor:
        present = F.one_hot(labels, scores.shape[1]).to(scores.dtype)
        missed = present * (0.9 - scores).clamp_min(0).square()
        wrong = 0.5 * (1 - present) * (scores - 0.1).clamp_min(0).square()
        return (missed + wrong).sum(dim=1).mean()


class SpreadLoss(Loss):
    """The spread loss of Hinton 2018, equation 3, its margin m from 0.2 to 0.9 over the training.

    ``sum over i != t of max(0, m - (a_t - a_i))^2``, mean over images.
    """

    def forward(self, scores: Tensor, labels: Tensor, progress: float) -> Tensor:
        margin = 0.2 + 0.7 * progress
        target = scores.gather(1, labels.unsqueeze(1))
        short = (margin - (target - scores)).clamp_min(0).square()
        others = 1 - F.one_hot(labels, scores.shape[1]).to(scores.dtype)
        return (short * others).sum(dim=1).mean()


class CrossEntropy(Loss):
    """Cross-entropy of logits, or of activations divided by their sum (`log_probabilities`)."""

    def forward(self, scores: Tensor, labels: Tensor, progress: float) -> Tensor:
        return F.nll_loss(log_probabilities(scores, self.capsules), labels)
