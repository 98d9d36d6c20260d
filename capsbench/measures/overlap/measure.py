"""The measure overlap: objects found that lie on top of each other, as in MultiMNIST (Sabour 2017, section 6)."""

from __future__ import annotations

import torch
from torch import Tensor

from capsbench.measures.base import Measure, Subject
from capsbench.measures.overlap.spec import SPEC
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.records.record import Row
from capsbench.training.evaluate import compute_scores, predict_classes

TENTHS = 10
"""The number of groups of equally many images."""


class Overlap(Measure):
    """The objects that are found in images of K objects of different classes.

    The K classes with the highest scores are found. The ``error`` of an ``image``, in which not all are found, is the number of
    Sabour 2017; that of an ``object`` is the share of all objects that are missed. ``accuracy`` is the share of images with all
    of their objects found, and with at least one. ``first`` is the share of images whose highest score is that of an object in
    them.

    If the data set says how much ink the objects share (`Splits.about`), ``all found, by shared ink`` is the first
    accuracy for each tenth of the images, in their order, at the mean of what they share.

    The objects found in each image are kept beside the record.
    """

    spec = SPEC

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        return super().applies_to(cell) and dataset_of(cell).labels_an_image > 1

    def __call__(self, subject: Subject) -> list[Row]:
        labels = subject.data.test.labels
        scores = compute_scores(subject.cell, subject.network, subject.data.test.images)
        predicted = predict_classes(scores, labels, capsules=subject.cell.has_routing)
        is_found = (predicted[:, :, None] == labels[:, None, :]).any(dim=1)
        count, objects = is_found.sum(dim=1), labels.shape[1]
        first = (scores.argmax(dim=1, keepdim=True) == labels).any(dim=1)
        subject.keep({"label": labels.to(torch.int32), "found": is_found})
        numbers = {
            ("accuracy", "all found"): count == objects,
            ("accuracy", "at least one found"): count > 0,
            ("accuracy", "first"): first,
            ("error", "image"): count < objects,
            ("error", "object"): ~is_found,
        }
        rows = [
            Row("overlap", metric, condition, float(which.double().mean()), "fraction")
            for (metric, condition), which in numbers.items()
        ]
        overlap = subject.data.about.get("test", {}).get("overlap")
        if overlap is not None:
            rows += _by_overlap((count == objects).cpu(), overlap)
        return rows


def _by_overlap(correct: Tensor, overlap: Tensor) -> list[Row]:
    """Returns the accuracy by how much ink two objects share, a row for each tenth of the test images."""
    tenths = overlap.argsort(stable=True).tensor_split(TENTHS)
    return [
        Row("overlap", "accuracy", "all found, by shared ink", float(correct[which].double().mean()), "fraction", level)
        for which in tenths
        if len(which)
        for level in [float(overlap[which].double().mean())]
    ]
