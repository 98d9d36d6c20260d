"""How often a network is right on the test images, and how well it knows."""

from __future__ import annotations

import torch
from torch import Tensor

from capsbench.losses import log_probabilities
from capsbench.measures.base import Measure, Subject
from capsbench.store import Row
from capsbench.training import scores_of

CALIBRATION_BINS = 15


class Accuracy(Measure):
    """Test accuracy and error, negative log-likelihood, expected calibration error, accuracy per class and on validation.

    Label, prediction and negative log-likelihood of every test image are kept beside the record, so that two cells can
    be compared image by image.
    """

    def __call__(self, subject: Subject) -> list[Row]:
        cell, labels = subject.cell, subject.data.test.labels
        scores = scores_of(subject.network, subject.data.test.images, cell.batch_size).double()
        predictions = scores.argmax(dim=1)
        right = predictions == labels
        logs = log_probabilities(scores, capsules=cell.routing is not None)
        nll = -logs.gather(1, labels.unsqueeze(1)).squeeze(1)
        subject.keep_per_image(
            {"label": labels.to(torch.int32), "prediction": predictions.to(torch.int32), "nll": nll.float()}
        )
        held_out = subject.data.validation
        validation = scores_of(subject.network, held_out.images, cell.batch_size).argmax(dim=1) == held_out.labels

        accuracy = _mean(right)
        rows = [
            Row("accuracy", "accuracy", "test", accuracy, "fraction"),
            Row("accuracy", "error", "test", 1 - accuracy, "fraction"),
            Row("accuracy", "nll", "test", _mean(nll), "nats"),
            Row("accuracy", "calibration error", "test", calibration_error(logs.exp(), labels), "fraction"),
            Row("accuracy", "accuracy", "validation", _mean(validation), "fraction"),
        ]
        for label in labels.unique().tolist():
            rows.append(Row("accuracy", "accuracy", f"class {label}", _mean(right[labels == label]), "fraction"))
        return rows


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: the mean gap of confidence and accuracy over equal bins of confidence (Guo 2017).

    Args:
        probabilities: ``[N, classes]``, rows summing to 1.
        labels: ``[N]``.
    """
    confidence, predictions = probabilities.max(dim=1)
    right = (predictions == labels).double()
    bin_of = (confidence * bins).long().clamp_max(bins - 1)
    gap = torch.zeros(bins, dtype=torch.double, device=labels.device)
    gap.index_add_(0, bin_of, confidence.double() - right)
    return float(gap.abs().sum() / len(labels))


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
