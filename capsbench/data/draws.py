"""Stratified draws of images: validation splits and small training sets."""

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
"""Seed of the draw of validation images, which is the same in every experiment."""


def draw_few(images: Images, size: int | None, seed: int, name: str) -> Images:
    """Returns a stratified draw of ``size`` training images of the data set ``name``; None: all of them.

    Of one seed, a smaller draw is a subset of a larger one.

    Raises:
        UsageError: the size is below one image per class, or above the number of images.
    """
    if size is None:
        return images
    count, classes = len(images.labels), len(find_strata(images.labels).unique())
    if not classes <= size <= count:
        expected = f"{classes} (an image of each class) to {count} (all training images of {name})"
        raise UsageError(Kind.INVALID, flag="train_size", value=size, expected=expected)
    chosen = draw_stratified(images.labels, size, seed)
    return Images(images.images.index_select(0, chosen), images.labels[chosen])


def hold_out(images: Images, size: int, seed: int = SPLIT_SEED) -> tuple[Images, Images]:
    """Returns (the rest, ``size`` held-out images), both stratified and in their original order."""
    held_out = torch.zeros(len(images.labels), dtype=torch.bool)
    held_out[draw_stratified(images.labels, size, seed)] = True
    rest = Images(images.images[~held_out], images.labels[~held_out])
    return rest, Images(images.images[held_out], images.labels[held_out])


def draw_stratified(labels: Tensor, size: int, seed: int) -> Tensor:
    """Returns indices ``[size]`` of a random draw that holds each class in its proportion, and at least once if possible.

    In a random order of all images, the k-th image (from 0) of a class of n images gets place k / n. The draw takes the ``size``
    lowest places. The random numbers are those of NumPy's RandomState, whose stream is frozen. (scikit-learn's split does not
    guarantee an image per class, refuses draws of nearly all images, and takes longer to import than MNIST takes to load.)
    """
    order = torch.from_numpy(np.random.RandomState(seed).permutation(len(labels)))
    strata = find_strata(labels)[order]
    rank = F.one_hot(strata).cumsum(0).gather(1, strata[:, None]).squeeze(1) - 1
    place = rank / strata.bincount()[strata]
    return order[place.argsort(stable=True)[:size]]


def find_strata(labels: Tensor) -> Tensor:
    """Returns the class ``[N]`` by which a draw is stratified: the only or first label of each image.

    Of images that show any number of classes, labels ``[N, classes]``, bool, it is the rarest class of each, so that a draw also
    holds rare classes in their proportion; images of no class are a stratum of their own.
    """
    if labels.dtype != torch.bool:
        return labels if labels.dim() == 1 else labels[:, 0]
    frequencies = torch.where(labels, labels.sum(dim=0), len(labels) + 1)
    return torch.where(labels.any(dim=1), frequencies.argmin(dim=1), labels.shape[1])


def draw_in_order(labels: Tensor, most: int | None, seed: int) -> Tensor:
    """Returns at most ``most`` indices in ascending order, all if None, on the CPU: a stratified draw."""
    if most is None or most >= len(labels):
        return torch.arange(len(labels))
    return draw_stratified(labels.cpu(), most, seed).sort().values
