"""The measure average-precision: how well scores rank the images that show a class before those that do not."""

from __future__ import annotations

from statistics import fmean

from torch import Tensor

from capsbench.data.images import ANY_NUMBER, Images
from capsbench.measures.average_precision.spec import AVERAGE_PRECISION, MEAN, OF_CLASS, SPEC
from capsbench.measures.base import Measure, Subject
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.records.record import Row
from capsbench.training.evaluate import compute_scores


class AveragePrecision(Measure):
    """Average precision of each class and its mean, for images that show any number of classes.

    The images are ranked by the score of a class. The average precision is the mean, over the images that show the class, of the
    precision at the place of each: ``sum (R_n - R_n-1) P_n`` over the thresholds n, without interpolation, by scikit-learn. It
    depends on the order of the scores alone, so no threshold is chosen, and activations and logits are treated alike. The ``mean
    average precision`` is over the classes that some of the images show, each with the same weight.
    """

    spec = SPEC
    any_number = True

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        return super().applies_to(cell) and dataset_of(cell).labels_an_image == ANY_NUMBER

    def __call__(self, subject: Subject) -> list[Row]:
        parts = {"test": subject.data.test, "validation": subject.data.validation, **subject.data.beside}
        by_part = {name: self._measure_classes(subject, images) for name, images in parts.items()}
        rows = [
            Row(AVERAGE_PRECISION, MEAN, name, fmean(precisions.values()), "fraction")
            for name, precisions in by_part.items()
            if precisions
        ]
        rows += [
            Row(AVERAGE_PRECISION, OF_CLASS, f"class {label}", precision, "fraction")
            for label, precision in by_part["test"].items()
        ]
        return rows

    @staticmethod
    def _measure_classes(subject: Subject, images: Images) -> dict[int, float]:
        scores = compute_scores(subject.cell, subject.network, images.images)
        return compute_average_precisions(scores, images.labels)


def compute_average_precisions(scores: Tensor, labels: Tensor) -> dict[int, float]:
    """Returns class -> average precision, of the classes that some images show.

    Args:
        scores: ``[N, classes]``.
        labels: ``[N, classes]``, bool.
    """
    from sklearn.metrics import average_precision_score  # takes a second to import

    ranked, shown = scores.double().cpu().numpy(), labels.cpu().numpy()
    return {
        label: float(average_precision_score(shown[:, label], ranked[:, label]))
        for label in range(shown.shape[1])
        if shown[:, label].any()
    }
