"""Affine warps of images, a batch at a time, and the distribution of them that affNIST was made with.

Conventions: x points to the right and y down, both in pixels from the centre of the image, ``((W - 1) / 2, (H - 1) / 2)``.
A matrix ``[2, 3]`` says where the points of an image go: ``(x, y)`` to ``M[:, :2] @ (x, y) + M[:, 2]``. Images are bilinear
between the centres of their pixels and 0 outside.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from capsbench.data.augment import Augmentation, Batch
from capsbench.data.base import Images

ROTATION, SHEAR, SCALE = 20.0, 0.2, 0.2
"""affNIST's ranges: degrees and shear to either side of 0, and the fraction to either side of size 1."""


def affine(rotation: Tensor, shear: Tensor, scale_x: Tensor, scale_y: Tensor) -> Tensor:
    """Linear parts ``[B, 2, 2]``, float64, of warps that scale, then shear, then rotate about the centre.

    Args:
        rotation: ``[B]``, degrees counter-clockwise, as one sees it.
        shear: ``[B]``, pixels to the right for each pixel down; 1 makes a parallelogram with angles of 45 degrees.
        scale_x, scale_y: ``[B]``, 2 is twice as wide and twice as high.
    """
    angle, shear = rotation.double().deg2rad(), shear.double()
    cos, sin = (part.round(decimals=12) for part in (angle.cos(), angle.sin()))  # so that quarter turns are exact
    to_x = [cos * scale_x, (cos * shear + sin) * scale_y]
    to_y = [-sin * scale_x, (cos - sin * shear) * scale_y]
    return torch.stack([*to_x, *to_y], dim=1).view(-1, 2, 2)


def warped(images: Tensor, matrices: Tensor) -> Tensor:
    """Images ``[B, C, H, W]``, each warped by its own matrix ``[B, 2, 3]``, which has to have an inverse.

    Where whole pixels come from whole pixels (the identity, whole shifts, quarter turns of a square) the result is exact.
    """
    height, width = images.shape[2:]
    # grid_sample counts in halves of the image's size. In those of a power of two whole pixels have no rounding error.
    side = 1 << (max(height, width) - 1).bit_length()
    (a, b, right), (c, d, down) = matrices.double().permute(1, 2, 0)
    unit = 2 / side / (a * d - b * c)
    from_x = [unit * d, -unit * b, unit * (b * down - d * right) + width / side - 1]
    from_y = [-unit * c, unit * a, unit * (c * right - a * down) + height / side - 1]
    y, x = _from_centre(images)
    inverse = torch.stack([*from_x, *from_y]).to(images.dtype).view(2, 3, -1, 1, 1)
    grid = torch.stack([by_x * x + by_y * y + offset for by_x, by_y, offset in inverse], dim=-1)
    padded = F.pad(images, (0, side - width, 0, side - height))
    return F.grid_sample(padded, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def affnist_matrices(images: Tensor, drawn: Tensor) -> Tensor:
    """A warp ``[B, 2, 3]`` for each image ``[B, C, H, W]`` out of affNIST's distribution (Tieleman 2013).

    Rotation by -20 to 20 degrees, shear by -0.2 to 0.2, scales of 0.8 to 1.2 in x and in y, and any translation by which no
    pixel that is not 0 leaves the image, all uniform. What has become too large for that is centred.

    Args:
        drawn: ``[B, 6]`` in [0, 1), for rotation, shear, both scales, and the translation in x and y.
    """
    rotation, shear, scale_x, scale_y = (2 * drawn[:, :4].double() - 1).unbind(1)
    linear = affine(ROTATION * rotation, SHEAR * shear, 1 + SCALE * scale_x, 1 + SCALE * scale_y)
    low, high = _ink_box(images, linear)
    # The nearest pixels outside, which have to stay 0, are this far from the centre.
    outside = (torch.tensor([images.shape[3], images.shape[2]], device=images.device) + 1) / 2
    least, most = -outside - low, outside - high
    translation = (least + most) / 2 + (drawn[:, 4:].double() - 0.5) * (most - least).clamp(min=0)
    return torch.cat([linear, translation[:, :, None]], dim=2)


class Warp(Augmentation):
    """Warps each image, and its targets with it, out of affNIST's distribution (`affnist_matrices`)."""

    draws = 6

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        matrices = affnist_matrices(batch.images, drawn)
        targets = batch.targets
        if targets is not None:
            targets = warped(targets.flatten(1, -3), matrices).view_as(targets)
        return batch._replace(images=warped(batch.images, matrices), targets=targets)


def _from_centre(images: Tensor) -> tuple[Tensor, Tensor]:
    """y ``[H, 1]`` and x ``[W]`` of the pixels of images."""
    y, x = (torch.arange(n, dtype=images.dtype, device=images.device) - (n - 1) / 2 for n in images.shape[2:])
    return y[:, None], x


def _ink_box(images: Tensor, linear: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the greatest x and y ``[B, 2]`` between which images lie after a warp ``[B, 2, 2]``.

    What is not 0 reaches one pixel far along both axes. An image without ink counts as full of it.
    """
    ink = (images != 0).any(dim=1, keepdim=True).flatten(2)  # [B, 1, H * W]
    blank = ~ink & ink.any(dim=2, keepdim=True)
    y, x = (part.expand(images.shape[2:]).flatten() for part in _from_centre(images))
    goes = linear.to(images.dtype)
    moved = goes[:, :, :1] * x + goes[:, :, 1:] * y
    low = moved.masked_fill(blank, torch.inf).amin(dim=2)
    high = moved.masked_fill_(blank, -torch.inf).amax(dim=2)
    reach = linear.abs().sum(dim=2)
    return low - reach, high + reach
