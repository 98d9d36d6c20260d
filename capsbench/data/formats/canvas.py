"""Images on a larger canvas, and augmentations applied once and for all, as fixed test images are made of others."""

from __future__ import annotations

import numpy as np

from capsbench.data.images import Augmentation, Batch, Images
from capsbench.data.lazy import functional as F
from capsbench.data.lazy import torch

IMAGES_AT_A_TIME = 1000
"""Bounds the memory of what is between."""


def on_canvas(images: Images, margin: int) -> Images:
    """The images with ``margin`` pixels of 0 on every side."""
    return images._replace(images=F.pad(images.images, (margin,) * 4))


def once(images: Images, augmentation: Augmentation, seed: int) -> Images:
    """All images augmented by numbers of a fixed seed: the same ones at every call."""
    # NumPy's RandomState, because its stream is frozen for good.
    drawn = torch.from_numpy(np.random.RandomState(seed).random_sample((len(images.labels), augmentation.draws)))
    batches = [
        augmentation(Batch(images.images[which], images.labels[which]), drawn[which], images)
        for which in torch.arange(len(drawn)).split(IMAGES_AT_A_TIME)
    ]
    return Images(torch.cat([batch.images for batch in batches]), torch.cat([batch.labels for batch in batches]))
