"""Images on a larger canvas, and augmentations with fixed random numbers, for fixed test images."""

from __future__ import annotations

import numpy as np

from capsbench.data.images import Augmentation, Batch, Images
from capsbench.data.lazy import functional as F
from capsbench.data.lazy import torch

IMAGES_AT_A_TIME = 1000
"""Images per batch, which bounds the memory of intermediate results."""


def place_on_canvas(images: Images, margin: int) -> Images:
    """Pads images with ``margin`` pixels of 0 on every side."""
    return images._replace(images=F.pad(images.images, (margin,) * 4))


def augment_once(images: Images, augmentation: Augmentation, seed: int) -> Images:
    """Augments all images with the random numbers of a seed: the same result at every call."""
    # The stream of NumPy's RandomState is frozen.
    drawn = torch.from_numpy(np.random.RandomState(seed).random_sample((len(images.labels), augmentation.draws)))
    batches = [
        augmentation(Batch(images.images[which], images.labels[which]), drawn[which], images)
        for which in torch.arange(len(drawn)).split(IMAGES_AT_A_TIME)
    ]
    return Images(torch.cat([batch.images for batch in batches]), torch.cat([batch.labels for batch in batches]))
