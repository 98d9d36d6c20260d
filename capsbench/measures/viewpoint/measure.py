"""The measure viewpoint: error on novel and on familiar viewpoints (Hinton 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from capsbench.measures.base import Measure, Subject
from capsbench.measures.viewpoint.spec import SPEC
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.records.record import Row
from capsbench.training.evaluate import compute_scores, match_labels, predict_classes


class Viewpoint(Measure):
    """Error on novel and on familiar viewpoints, and their difference and ratio (Hinton 2018, section 5.1).

    Both are of the same objects: in smallNORB of toys that training does not show, in COIL-20 of those that it shows. The paper
    compares networks with equal error on familiar viewpoints. ``difference`` is the novel error minus the familiar one, and
    ``ratio`` the novel one divided by it, unless that is 0.

    ``accuracy`` is by ``azimuth`` and by ``elevation``, in degrees, over novel and familiar images.

    It applies to data sets that declare ``familiar`` viewpoints (`capsbench.data.base.Dataset.familiar`). Label and
    prediction of every image are kept beside the record.
    """

    spec = SPEC

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        return super().applies_to(cell) and bool(dataset_of(cell).familiar)

    def __call__(self, subject: Subject) -> list[Row]:
        errors: dict[str, float] = {}
        tensors: dict[str, Tensor] = {}
        # Angle -> of each part that is told from where it is seen: the degrees, and which of its images are right.
        seen_from: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for name, part in {"familiar": subject.data.beside["familiar"], "novel": subject.data.test}.items():
            scores = compute_scores(subject.cell, subject.network, part.images)
            predictions = predict_classes(scores, part.labels, capsules=subject.cell.has_routing)
            correct = match_labels(predictions, part.labels).double().cpu()
            errors[name] = 1 - float(correct.mean())
            for angle, degrees in subject.data.about.get("test" if name == "novel" else name, {}).items():
                seen_from.setdefault(angle, []).append((degrees.cpu(), correct))
            tensors |= {f"{name}.label": part.labels.to(torch.int32), f"{name}.prediction": predictions.to(torch.int32)}
        subject.keep(tensors)
        rows = [Row("viewpoint", "error", name, error, "fraction") for name, error in errors.items()]
        rows.append(Row("viewpoint", "error", "difference", errors["novel"] - errors["familiar"], "fraction"))
        if errors["familiar"] > 0:
            rows.append(Row("viewpoint", "error", "ratio", errors["novel"] / errors["familiar"], "ratio"))
        for angle, parts in seen_from.items():
            degrees, correct = (torch.cat(values) for values in zip(*parts, strict=True))
            for level in degrees.unique().tolist():
                rows.append(
                    Row("viewpoint", "accuracy", angle, float(correct[degrees == level].mean()), "fraction", level)
                )
        return rows
