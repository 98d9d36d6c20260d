"""Predictions that the measure accuracy kept of each test image: which are right, and whether they are those of a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capsbench.errors import Kind, UsageError
from capsbench.records.record import Row

ACCURACY = ("accuracy", "accuracy", "test")


def right(predictions: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Which images are classified right: of labels ``[N]``, or ``[N, K]`` where an image has K of them, as arrays on record.

    Args:
        predictions: ``[..., N]`` or ``[..., N, K]``, the K classes of an image in ascending order.
    """
    same = predictions == np.sort(labels, axis=-1) if labels.ndim > 1 else predictions == labels
    return same.all(axis=-1) if labels.ndim > 1 else same


def check_predictions(path: Path, rows: Iterable[Row], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raises UsageError unless predictions in a file, where it has some, are right as often as the rows of their measure say."""
    accuracy = next((row.value for row in rows if row[:3] == ACCURACY), None)
    if accuracy is None or not {"label", "prediction"} <= arrays.keys():
        return
    labels, predictions = arrays["label"], arrays["prediction"]
    if labels.ndim not in (1, 2) or labels.shape != predictions.shape or not len(labels):
        found = f"{list(predictions.shape)} predictions of {list(labels.shape)} labels"
        raise UsageError(Kind.DAMAGED, f"expected a prediction of each label, found {found}", file=path)
    count = int(right(predictions, labels).sum())
    if abs(count - accuracy * len(labels)) > 0.25:  # old records have accuracies in float32
        problem = (
            f"{count} of its {len(labels)} predictions are right, and its record has an accuracy of {accuracy:.4g}"
        )
        raise UsageError(Kind.DAMAGED, problem, file=path)
