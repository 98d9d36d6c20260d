"""How many of the objects that lie on top of each other are found: MultiMNIST (Sabour 2017, section 6)."""

from __future__ import annotations

import torch
from torch import Tensor

from capsbench import registry
from capsbench.measures.base import Measure, Subject
from capsbench.measures.overlap.spec import SPEC
from capsbench.records.cell import Cell
from capsbench.records.record import Row
from capsbench.training.evaluate import compute_scores, predict_classes

TENTHS = 10
"""Groups of equally many images that accuracy is shown for."""


class Overlap(Measure):
    """Of images that show K objects of different classes: how often all are found, any, and none, and the objects missed.

    The K classes of the highest scores are those found. The ``error`` of an ``image``, in which not all are found, is what Sabour
    2017 reports; that of an ``object`` is the share of all objects shown that are missed. ``accuracy`` is the share of images
    with all of their objects found, and with at least one. ``first`` is the share of images whose highest score is that of
    an object shown: what a network would get right that had to name one.

    Where the data set says how much ink the objects share (`Splits.about`), ``all found, by shared ink`` is the first
    accuracy for each tenth of the images, in their order, at the mean of what they share.

    Which objects of each image are found is kept beside the record.
    """

    spec = SPEC

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        return super().applies_to(cell) and registry.get("dataset", cell.dataset).labels_an_image > 1

    def __call__(self, subject: Subject) -> list[Row]:
        labels = subject.data.test.labels
        scores = compute_scores(subject.cell, subject.network, subject.data.test.images)
        found = (predict_classes(scores, labels)[:, :, None] == labels[:, None, :]).any(dim=1)
        count, shown = found.sum(dim=1), labels.shape[1]
        first = (scores.argmax(dim=1, keepdim=True) == labels).any(dim=1)
        subject.keep({"label": labels.to(torch.int32), "found": found})
        numbers = {
            ("accuracy", "all found"): count == shown,
            ("accuracy", "at least one found"): count > 0,
            ("accuracy", "first"): first,
            ("error", "image"): count < shown,
            ("error", "object"): ~found,
        }
        rows = [
            Row("overlap", metric, condition, float(each.double().mean()), "fraction")
            for (metric, condition), each in numbers.items()
        ]
        overlap = subject.data.about.get("test", {}).get("overlap")
        if overlap is not None:
            rows += _by_overlap((count == shown).cpu(), overlap)
        return rows


def _by_overlap(correct: Tensor, overlap: Tensor) -> list[Row]:
    """Accuracy by how much ink two objects share, a row a tenth of all test images: equally many, so equally certain."""
    tenths = overlap.argsort(stable=True).tensor_split(TENTHS)
    return [
        Row("overlap", "accuracy", "all found, by shared ink", float(correct[which].double().mean()), "fraction", level)
        for which in tenths
        if len(which)
        for level in [float(overlap[which].double().mean())]
    ]
