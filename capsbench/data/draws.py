"""Draws of images that hold each class in its proportion: fixed splits and few examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from capsbench.data.images import Images
from capsbench.data.lazy import functional as F
from capsbench.data.lazy import torch
from capsbench.errors import Kind, UsageError

if TYPE_CHECKING:
    from torch import Tensor

SPLIT_SEED = 0
"""Decides which training images are held out for validation: the same ones in every experiment."""


def few(images: Images, size: int | None, seed: int, name: str) -> Images:
    """A stratified draw of ``size`` training images of the data set ``name``; None: all of them.

    With one seed, a smaller draw is a part of a larger one.

    Raises:
        UsageError: fewer than one image a class, or more than there are.
    """
    if size is None:
        return images
    count, classes = len(images.labels), len(images.labels.unique())
    if not classes <= size <= count:
        expected = f"{classes} (an image of each class) to {count} (all training images of {name})"
        raise UsageError(Kind.INVALID, flag="train_size", value=size, expected=expected)
    chosen = stratified(images.labels, size, seed)
    return Images(images.images[chosen], images.labels[chosen])


def hold_out(images: Images, size: int, seed: int = SPLIT_SEED) -> tuple[Images, Images]:
    """(the rest, ``size`` images held out), both stratified and in their original order."""
    held_out = torch.zeros(len(images.labels), dtype=torch.bool)
    held_out[stratified(images.labels, size, seed)] = True
    rest = Images(images.images[~held_out], images.labels[~held_out])
    return rest, Images(images.images[held_out], images.labels[held_out])


def stratified(labels: Tensor, size: int, seed: int) -> Tensor:
    """Indices ``[size]`` of a random draw that holds each class in its proportion, and once at least where it can.

    In a random order of all images, the k-th one of a class that has n comes at k / n; the draw is the first ``size``.
    NumPy's RandomState is used because its stream is frozen for good. (scikit-learn's split promises no class an
    image, refuses draws of nearly all images, and takes longer to import than MNIST takes to load.)
    """
    order = torch.from_numpy(np.random.RandomState(seed).permutation(len(labels)))
    labels = (labels if labels.dim() == 1 else labels[:, 0])[order]
    rank = F.one_hot(labels).cumsum(0).gather(1, labels[:, None]).squeeze(1) - 1
    place = rank / labels.bincount()[labels]
    return order[place.argsort(stable=True)[:size]]
