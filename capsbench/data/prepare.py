"""Converts images from elsewhere to those of a data set: size and standardisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capsbench.data.lazy import functional as F

if TYPE_CHECKING:
    from torch import Tensor

GREY_LEVELS = 255
"""The grey levels of a pixel of 1, for data sets that standardise grey levels."""


def resize_images(images: Tensor, height: int, width: int) -> Tensor:
    """Resizes images ``[N, C, H, W]`` to another height and width, whatever their aspect ratio.

    If both sides are divisible, each pixel becomes the mean of a block. Otherwise the interpolation is bilinear, and smooths
    before it shrinks.
    """
    down, across = divmod(images.shape[-2], height), divmod(images.shape[-1], width)
    if (down, across) == ((1, 0), (1, 0)):
        return images
    if down[0] and across[0] and not down[1] and not across[1]:
        return F.avg_pool2d(images, (down[0], across[0]))
    return F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False, antialias=True)


def standardise_images(images: Tensor) -> Tensor:
    """Standardises images ``[N, C, H, W]`` of grey levels to mean 0 and variance 1 over all channels of each image.

    An image of a single grey level becomes 0. (The standard deviation is at least 1 / sqrt(C H W), as in TensorFlow's
    `per_image_standardization`, which the authors use.)
    """
    flat = images.flatten(1)
    centred = flat - flat.mean(dim=1, keepdim=True)
    deviation = centred.square().mean(dim=1, keepdim=True).sqrt()
    return (centred / deviation.clamp_min(flat.shape[1] ** -0.5)).view_as(images)
