"""Predictions that the measure accuracy keeps for each test image: their correctness, and a check against the record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capsbench.errors import Kind, UsageError
from capsbench.measures.accuracy.spec import TEST_ACCURACY
from capsbench.records.record import Row


def are_correct(predictions: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Compares predictions with labels; an image with several labels is correct if all its classes are.

    Args:
        predictions: ``[..., N]``, or ``[..., N, K]`` with the K classes of an image in ascending order.
        labels: ``[N]``, or ``[N, K]`` if an image has K labels.

    Returns:
        ``[..., N]``.
    """
    same = predictions == np.sort(labels, axis=-1) if labels.ndim > 1 else predictions == labels
    return same.all(axis=-1) if labels.ndim > 1 else same


def check_predictions(path: Path, rows: Iterable[Row], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raises UsageError if the predictions in a file do not fit their labels, or the accuracy in the rows of their measure."""
    if not {"label", "prediction"} <= arrays.keys():
        return
    labels, predictions = arrays["label"], arrays["prediction"]
    if labels.ndim not in (1, 2) or labels.shape != predictions.shape or not len(labels):
        shapes = f"predictions of shape {list(predictions.shape)} and labels of shape {list(labels.shape)}"
        raise UsageError(Kind.DAMAGED, f"expected one prediction for each label, got {shapes}", file=path)
    count = int(are_correct(predictions, labels).sum())
    for accuracy in (row.value for row in rows if row[:3] == TEST_ACCURACY):
        if abs(count - accuracy * len(labels)) > 0.25:  # accuracies of old records were rounded to float32
            problem = (
                f"{count} of its {len(labels)} predictions are correct, but the accuracy on record is {accuracy:.4g}"
            )
            raise UsageError(Kind.DAMAGED, problem, file=path)
