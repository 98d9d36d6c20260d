"""What a trained network says of images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from capsbench.errors import TrainingFailed
from capsbench.records.cell import Cell
from capsbench.training.step import arithmetic


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
