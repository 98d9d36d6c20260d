"""The measure accuracy: correct predictions on the test images, and how well the confidence fits."""

from __future__ import annotations

from statistics import fmean

import torch
from torch import Tensor

from capsbench.measures.accuracy.spec import SPEC
from capsbench.measures.base import Measure, Subject
from capsbench.records.record import Row
from capsbench.training.evaluate import compute_scores, match_labels, predict_classes
from capsbench.training.losses import log_probabilities

CALIBRATION_BINS = 15


class Accuracy(Measure):
    """Test accuracy and error, negative log-likelihood, expected calibration error, accuracy per class and on validation.

    For images with one label, three more numbers show whether the network has collapsed: the balanced accuracy (the mean over
    classes), the share of the most frequent prediction (``largest predicted share``) and of the most frequent class
    (``majority share``), with the count of the images.

    An image with K labels is correct if the K classes with the highest scores are its labels. Its likelihood is the mean over its
    labels. Further test images of a data set have rows of their own.

    Of images that show any number of classes, the accuracy is the exact match: an image is correct if exactly the classes that it
    shows have a presence above `capsbench.training.evaluate.THRESHOLD`. There is no likelihood, and no accuracy per class: the
    measure ``average-precision`` has numbers of each class.

    Label, prediction and negative log-likelihood of every test image are kept beside the record, so that two cells can
    be compared image by image.
    """

    spec = SPEC
    any_number = True

    def __call__(self, subject: Subject) -> list[Row]:
        test = subject.data.test
        scores = compute_scores(subject.cell, subject.network, test.images).double()
        predictions = predict_classes(scores, test.labels, capsules=subject.cell.has_routing)
        correct = match_labels(predictions, test.labels)
        accuracy = _compute_mean(correct)
        rows = [
            Row("accuracy", "accuracy", "test", accuracy, "fraction"),
            Row("accuracy", "error", "test", 1 - accuracy, "fraction"),
        ]
        if test.labels.dtype == torch.bool:
            subject.keep({"label": test.labels, "prediction": predictions})
            rows.append(Row("accuracy", "images", "test", float(len(correct)), "images"))
            return rows + self._measure_others(subject)
        logs = log_probabilities(scores, capsules=subject.cell.has_routing)
        nll = -logs.gather(1, test.labels.view(len(logs), -1)).mean(dim=1)
        subject.keep(
            {"label": test.labels.to(torch.int32), "prediction": predictions.to(torch.int32), "nll": nll.float()}
        )
        rows.append(Row("accuracy", "nll", "test", _compute_mean(nll), "nats"))
        if test.labels.dim() == 1:  # confidence is that of one class
            error = compute_calibration_error(logs.exp(), test.labels)
            shares = {
                "calibration error": error,
                "balanced accuracy": fmean(
                    _compute_mean(correct[test.labels == label]) for label in test.labels.unique()
                ),
                "largest predicted share": _compute_largest_share(predictions),
                "majority share": _compute_largest_share(test.labels),
            }
            rows += [Row("accuracy", metric, "test", share, "fraction") for metric, share in shares.items()]
            rows.append(Row("accuracy", "images", "test", float(len(correct)), "images"))
        rows += self._measure_others(subject)
        for label in test.labels.unique().tolist():
            has_label = (test.labels.view(len(correct), -1) == label).any(dim=1)
            rows.append(Row("accuracy", "accuracy", f"class {label}", _compute_mean(correct[has_label]), "fraction"))
        return rows

    @staticmethod
    def _measure_others(subject: Subject) -> list[Row]:
        """Returns the accuracy on the validation images and on further test images."""
        rows = []
        for name, images in {"validation": subject.data.validation, **subject.data.beside}.items():
            scores = compute_scores(subject.cell, subject.network, images.images)
            predicted = predict_classes(scores, images.labels, capsules=subject.cell.has_routing)
            rows.append(
                Row("accuracy", "accuracy", name, _compute_mean(match_labels(predicted, images.labels)), "fraction")
            )
        return rows


def compute_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = CALIBRATION_BINS) -> float:
    """Returns the expected calibration error: the mean gap of confidence and accuracy over equal bins of confidence (Guo 2017).

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


def _compute_largest_share(classes: Tensor) -> float:
    """Returns the share of the most frequent class."""
    return int(classes.bincount().max()) / len(classes)


def _compute_mean(values: Tensor) -> float:
    return float(values.double().mean())
