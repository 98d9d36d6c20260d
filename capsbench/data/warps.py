"""Affine and projective warps of images, a batch at a time, and the distribution of them that affNIST was made with.

Conventions: x points to the right and y down, both in pixels from the centre of the image, ``((W - 1) / 2, (H - 1) / 2)``.
A matrix ``[2, 3]`` says where the points of an image go: ``(x, y)`` to ``M[:, :2] @ (x, y) + M[:, 2]``. A homography
``[3, 3]`` sends them to the first two numbers of ``H @ (x, y, 1)``, divided by the third. Images are bilinear between the
centres of their pixels and 0 outside, unless their edges are asked to go on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from capsbench.data.images import Augmentation, Batch, Images
from capsbench.data.lazy import functional as F
from capsbench.data.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

ROTATION, SHEAR, SCALE = 20.0, 0.2, 0.2
"""affNIST's ranges: degrees and shear to either side of 0, and the fraction to either side of size 1."""

Outside = Literal["zeros", "border"]
"""What an image is beyond its edges: 0, or the nearest of its pixels."""


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


def warped(images: Tensor, matrices: Tensor, outside: Outside = "zeros") -> Tensor:
    """Images ``[B, C, H, W]``, each warped by its own matrix, which has to have an inverse.

    Where whole pixels come from whole pixels (the identity, whole shifts, quarter turns of a square) the result is exact.

    Args:
        matrices: ``[B, 2, 3]``, or homographies ``[B, 3, 3]``. Points of which the third number is not positive are
            behind the viewer and not seen.
        outside: `Outside`.
    """
    height, width = images.shape[2:]
    # grid_sample counts in halves of the image's size. In those of a power of two whole pixels have no rounding error.
    side = 1 << (max(height, width) - 1).bit_length()
    from_x, from_y, depth = _inverse(matrices).unbind(1)
    from_x = 2 / side * from_x + width / side * depth - depth
    from_y = 2 / side * from_y + height / side * depth - depth
    rows = [from_x, from_y] if matrices.shape[1] == 2 else [from_x, from_y, depth]
    y, x = _from_centre(images)
    coefficients = torch.stack(rows).to(images.dtype).movedim(2, 1)[..., None, None]  # [rows, 3, B, 1, 1]
    places = [by_x * x + by_y * y + offset for by_x, by_y, offset in coefficients]
    grid = torch.stack(places[:2], dim=-1)
    if len(places) == 3:
        ahead = places[2][..., None]
        grid = torch.where(ahead > 0, grid / ahead, -2)  # -2 is outside
    beyond = "constant" if outside == "zeros" else "replicate"
    padded = F.pad(images, (0, side - width, 0, side - height), mode=beyond)
    return F.grid_sample(padded, grid, mode="bilinear", padding_mode=outside, align_corners=False)


def _inverse(matrices: Tensor) -> Tensor:
    """The inverses ``[B, 3, 3]``, float64, of matrices ``[B, 2, 3]`` or ``[B, 3, 3]``, by their cofactors.

    Torch's own are a hair off 1 and 0 where those are exact; here a quarter turn's is a quarter turn.
    """
    (a, b, right), (c, d, down), *last = matrices.double().permute(1, 2, 0)
    g, h, i = last[0] if last else (torch.zeros_like(a), torch.zeros_like(a), torch.ones_like(a))
    to_x = [d * i - down * h, right * h - b * i, b * down - d * right]
    to_y = [down * g - c * i, a * i - right * g, c * right - a * down]
    to_depth = [c * h - d * g, b * g - a * h, a * d - b * c]
    determinant = g * to_x[2] + h * to_y[2] + i * to_depth[2]
    return (torch.stack([*to_x, *to_y, *to_depth]) / determinant).view(3, 3, -1).permute(2, 0, 1)


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


RANGES = (45.0, 0.15, 0.15, math.log(1.3), 0.4, math.log(1.2), 0.3, 0.3)
"""What the parameters of the groups reach to either side of 0 at level 1.

In the order of `composed`, but for translations, which are fractions of the width and the height, and tilts, which are how much
farther away than the centre the right and the lower edge are; the opposite edges are as much nearer.
"""

DRAWS = len(RANGES)
"""Random numbers that an image needs for its warp out of any family."""


class Family(NamedTuple):
    """Warps of one kind, by how much there is of it: level 0 is the identity.

    - ``largest``: the greatest level; what it makes of a digit, a person still reads
    - ``unit``: what levels count
    - ``parameters``: numbers in [0, 1) drawn for each image ``[B, DRAWS]``, a level, height and width -> those of `composed`
    """

    largest: float
    unit: str
    parameters: Callable[[Tensor, float, int, int], Tensor]

    def homographies(self, drawn: Tensor, level: float, height: int, width: int) -> Tensor:
        """The warp ``[B, 3, 3]``, float64, of each image of that size."""
        return composed(self.parameters(drawn.double(), level, height, width))


def composed(parameters: Tensor) -> Tensor:
    """Homographies ``[B, 3, 3]``, float64, that tilt, then scale, shear, rotate and translate; of zeros, the identity.

    Args:
        parameters: ``[B, 8]``:

            - 0: rotation in degrees, counter-clockwise
            - 1, 2: translation to the right and down in pixels
            - 3: the logarithm of the scale
            - 4: shear, pixels to the right for each pixel down
            - 5: the logarithm of the stretch, by which an image gets wider and as much less high
            - 6, 7: tilt: how much farther away than the centre, as a fraction, is what lies a pixel to the right and a
              pixel below
    """
    rotation, right, down, scale, shear, stretch, tilt_x, tilt_y = parameters.double().unbind(1)
    linear = affine(rotation, shear, (scale + stretch).exp(), (scale - stretch).exp())
    translation, tilt = torch.stack([right, down], dim=1)[:, :, None], torch.stack([tilt_x, tilt_y], dim=1)[:, None]
    ones = torch.ones_like(tilt[:, :, :1])
    # The product of an affine matrix with rows (1, 0, 0), (0, 1, 0) and (tilt, 1)
    return torch.cat(
        [torch.cat([linear + translation @ tilt, translation], dim=2), torch.cat([tilt, ones], dim=2)], dim=1
    )


def _sign(drawn: Tensor) -> Tensor:
    return torch.where(drawn < 0.5, -1.0, 1.0).to(drawn.dtype)


def _rotated(drawn: Tensor, level: float, height: int, width: int) -> Tensor:
    return _only(drawn, {0: level * _sign(drawn[:, 0])})


def _translated(drawn: Tensor, level: float, height: int, width: int) -> Tensor:
    angle = 2 * math.pi * drawn[:, 1]
    return _only(drawn, {1: (level * width * angle.cos()).round(), 2: (level * height * angle.sin()).round()})


def _scaled(drawn: Tensor, level: float, height: int, width: int) -> Tensor:
    return _only(drawn, {3: math.log1p(level) * _sign(drawn[:, 3])})


def _sheared(drawn: Tensor, level: float, height: int, width: int) -> Tensor:
    return _only(drawn, {4: level * _sign(drawn[:, 4])})


def _only(drawn: Tensor, parameters: dict[int, Tensor]) -> Tensor:
    """These parameters, and 0 for the others."""
    return torch.stack([parameters.get(i, torch.zeros_like(drawn[:, i])) for i in range(DRAWS)], dim=1)


def _group(first: int) -> Callable[[Tensor, float, int, int], Tensor]:
    """The ``first`` parameters, each uniform within its range times the level."""

    def parameters(drawn: Tensor, level: float, height: int, width: int) -> Tensor:
        in_pixels = (1, width, height, 1, 1, 1, 2 / width, 2 / height)
        reach = [
            most * pixels if i < first else 0.0 for i, (most, pixels) in enumerate(zip(RANGES, in_pixels, strict=True))
        ]
        return level * drawn.new_tensor(reach) * (2 * drawn - 1)

    return parameters


FAMILIES: dict[str, Family] = {
    "rotation": Family(60.0, "degrees", _rotated),
    "translation": Family(0.25, "fraction of the side", _translated),
    "scale": Family(0.5, "factor less 1", _scaled),
    "shear": Family(0.6, "pixels right for a pixel down", _sheared),
    "Euclidean": Family(1.0, "fraction of the ranges", _group(3)),
    "similarity": Family(1.0, "fraction of the ranges", _group(4)),
    "affine": Family(1.0, "fraction of the ranges", _group(6)),
    "projective": Family(1.0, "fraction of the ranges", _group(8)),
}
"""Warps by one parameter, and by the transformation groups, of which each holds the one before it.

By one parameter every image is warped by the level itself, to a side that is drawn for it: ``rotation`` 30 turns by 30 degrees,
clockwise or counter-clockwise; ``translation`` 0.1 moves by a tenth of the side in a direction that is drawn, to the nearest
whole pixels, so that nothing is blurred; ``scale`` 0.25 makes larger or smaller by a factor of 1.25; ``shear`` 0.3 moves by 0.3
pixels for each pixel above or below the centre. So each point of a curve over levels is about one amount. In a group each
parameter is uniform between its range (`RANGES`) times the level and the negative of that. What two groups share is drawn
alike: the affine warp of an image is its similarity with shear and stretch added. What leaves the image is lost.
"""


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


def beyond(images: Tensor) -> Outside:
    """What lies beyond the edges of images ``[N, C, H, W]``: 0 where it is the median of what lies along them."""
    edges = [images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]]
    dark = sum(int((edge == 0).sum()) for edge in edges)
    return "zeros" if 2 * dark >= sum(edge.numel() for edge in edges) else "border"
