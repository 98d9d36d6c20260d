"""Labels of a user's own images: one class each, or any number of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]
"""Numbers of classes ``[N]``, int64; or ``[N, classes]``, bool, true for each class that an image shows."""

ANY = "any number"
"""What a record says of the labels of images that show any number of classes."""


def encode_labels(labels: Sequence[Sequence[str]], names: Sequence[str], any_number: bool) -> Labels:
    """Returns the classes of each image, by their names, as `Labels`.

    Args:
        names: those of all classes, in the order of their numbers.
        any_number: false if each image has exactly one.
    """
    numbers = {name: number for number, name in enumerate(names)}
    if not any_number:
        return np.array([numbers[name] for (name,) in labels], dtype=np.int64)
    mask = np.zeros((len(labels), len(names)), dtype=np.bool_)
    for row, of_image in zip(mask, labels, strict=True):
        row[[numbers[name] for name in of_image]] = True
    return mask


def count_images(labels: Labels, classes: int) -> NDArray[np.int64]:
    """Returns the number of images ``[classes]`` that show each class."""
    counts: NDArray[np.int64] = labels.sum(axis=0) if labels.ndim > 1 else np.bincount(labels, minlength=classes)
    return counts


def describe_counts(labels: Labels) -> str:
    """Returns how many classes images show, of any number: ``0 to 3 classes an image, 1.4 on average``."""
    counts = labels.sum(axis=1)
    return f"{counts.min()} to {counts.max()} classes an image, {counts.mean():.1f} on average"


def describe_exclusive(labels: Labels) -> list[str]:
    """Returns a line on images that could show any number of classes and all show one; none of other images."""
    if labels.ndim == 1 or not (labels.sum(axis=1) == 1).all():
        return []
    return ["every image has exactly one class, yet classes are learned independently; give one label an image instead"]
