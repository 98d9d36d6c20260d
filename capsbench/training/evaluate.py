"""Scores and predictions of a trained network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from capsbench.data.images import split_rows
from capsbench.errors import TrainingFailed
from capsbench.records.cell import Cell
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


def predict_classes(scores: Tensor, labels: Tensor) -> Tensor:
    """Returns predicted classes in the shape of the labels: the highest score, or the K highest in ascending class order."""
    if labels.dim() == 1:
        return scores.argmax(dim=1)
    return scores.topk(labels.shape[1], dim=1).indices.sort(dim=1).values


def match_labels(predictions: Tensor, labels: Tensor) -> Tensor:
    """Returns a mask ``[N]`` of correctly classified images; an image of several labels needs all of them."""
    if labels.dim() == 1:
        return predictions == labels
    # `predict_classes` sorts its predictions, so sorted labels can be compared position by position.
    return (predictions == labels.sort(dim=1).values).all(dim=1)
