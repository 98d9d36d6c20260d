"""Scores and predictions of a trained network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from capsbench.data.images import split_rows
from capsbench.errors import TrainingFailed
from capsbench.records.cell import Cell
from capsbench.training.losses import compute_presence
from capsbench.training.step import use_precision


@torch.no_grad()
def compute_scores(cell: Cell, network: nn.Module, images: Tensor) -> Tensor:
    """Computes class scores ``[N, classes]`` in evaluation mode; raises TrainingFailed if a score is not finite."""
    network.eval()
    # Batches of the training size fit into memory, because training fitted.
    with use_precision(cell):
        scores = torch.cat([network(batch) for batch in split_rows(images, rows=cell.batch_size)])
    if not scores.isfinite().all():
        raise TrainingFailed("the network's scores are not finite")
    return scores


THRESHOLD = 0.5
"""The probability above which a class is predicted where an image may show any number of classes.

It is no result of the data: half of the probability, and the middle of the margins 0.1 and 0.9 of the margin loss.
"""


def predict_classes(scores: Tensor, labels: Tensor, *, capsules: bool) -> Tensor:
    """Returns predicted classes in the shape of the labels.

    That is the class with the highest score, the K classes with the highest scores in ascending order, or, for labels that are a
    mask ``[N, classes]``, the mask of the classes whose presence is above `THRESHOLD`.

    Args:
        capsules: True if the scores are capsule activations, False if they are logits.
    """
    if labels.dtype == torch.bool:
        return compute_presence(scores, capsules) > THRESHOLD
    if labels.dim() == 1:
        return scores.argmax(dim=1)
    return scores.topk(labels.shape[1], dim=1).indices.sort(dim=1).values


def list_classes(labels: Tensor) -> list[list[int]]:
    """Returns the classes of each image in ascending order, for labels or predictions of any of their shapes."""
    if labels.dtype == torch.bool:
        return [row.nonzero().flatten().tolist() for row in labels]
    classes: list[list[int]] = labels.view(len(labels), -1).sort(dim=1).values.tolist()
    return classes


def match_labels(predictions: Tensor, labels: Tensor) -> Tensor:
    """Returns a mask ``[N]`` of correctly classified images; an image of several labels needs all of them and no others."""
    if labels.dim() == 1:
        return predictions == labels
    if labels.dtype == torch.bool:
        return (predictions == labels).all(dim=1)
    # `predict_classes` sorts its predictions, so sorted labels can be compared position by position.
    return (predictions == labels.sort(dim=1).values).all(dim=1)
