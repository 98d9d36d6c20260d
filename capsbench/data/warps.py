"""Affine and projective warps of batches of images, and affNIST's distribution of affine warps.

Conventions: x points to the right and y down, both in pixels from the centre of the image, ``((W - 1) / 2, (H - 1) / 2)``.
A matrix ``[2, 3]`` maps a point ``(x, y)`` of an image to ``M[:, :2] @ (x, y) + M[:, 2]``. A homography ``[3, 3]`` maps it to
the first two numbers of ``H @ (x, y, 1)``, divided by the third. Images are interpolated bilinearly between the centres of
their pixels. Outside, they are 0 or repeat their border (`Outside`).
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
"""affNIST's ranges: degrees and shear on both sides of 0, and scale on both sides of 1."""

Outside = Literal["zeros", "border"]
"""Values beyond the edges of an image: 0, or those of its nearest pixels."""


def build_linear_parts(rotation: Tensor, shear: Tensor, scale_x: Tensor, scale_y: Tensor) -> Tensor:
    """Returns linear parts ``[B, 2, 2]``, float64, of warps that scale, then shear, then rotate about the centre.

    Args:
        rotation: ``[B]``, degrees counter-clockwise on the screen.
        shear: ``[B]``, pixels to the right for each pixel down; 1 makes a parallelogram with angles of 45 degrees.
        scale_x, scale_y: ``[B]``; 2 doubles the width and the height.
    """
    angle, shear = rotation.double().deg2rad(), shear.double()
    cos, sin = (part.round(decimals=12) for part in (angle.cos(), angle.sin()))  # makes quarter turns exact
    to_x = [cos * scale_x, (cos * shear + sin) * scale_y]
    to_y = [-sin * scale_x, (cos - sin * shear) * scale_y]
    return torch.stack([*to_x, *to_y], dim=1).view(-1, 2, 2)


def warp_images(images: Tensor, matrices: Tensor, outside: Outside = "zeros") -> Tensor:
    """Warps images ``[B, C, H, W]``, each by its own matrix, which must have an inverse.

    Warps that map whole pixels to whole pixels (the identity, whole shifts, quarter turns of a square) are exact.

    Args:
        matrices: ``[B, 2, 3]``, or homographies ``[B, 3, 3]``. Points whose third number is not positive are behind the
            viewer and not visible.
        outside: `Outside`.
    """
    height, width = images.shape[2:]
    # grid_sample's unit is half the size of the image. If the size is a power of two, whole pixels have no rounding error.
    side = 1 << (max(height, width) - 1).bit_length()
    from_x, from_y, depth = _invert_matrices(matrices).unbind(1)
    from_x = 2 / side * from_x + width / side * depth - depth
    from_y = 2 / side * from_y + height / side * depth - depth
    rows = [from_x, from_y] if matrices.shape[1] == 2 else [from_x, from_y, depth]
    y, x = _centre_coordinates(images)
    coefficients = torch.stack(rows).to(images.dtype).movedim(2, 1)[..., None, None]  # [rows, 3, B, 1, 1]
    points = [by_x * x + by_y * y + offset for by_x, by_y, offset in coefficients]
    grid = torch.stack(points[:2], dim=-1)
    if len(points) == 3:
        ahead = points[2][..., None]
        grid = torch.where(ahead > 0, grid / ahead, -2)  # -2 is outside the image
    padding = "constant" if outside == "zeros" else "replicate"
    padded = F.pad(images, (0, side - width, 0, side - height), mode=padding)
    return F.grid_sample(padded, grid, mode="bilinear", padding_mode=outside, align_corners=False)


def _invert_matrices(matrices: Tensor) -> Tensor:
    """Returns the inverses ``[B, 3, 3]``, float64, of matrices ``[B, 2, 3]`` or ``[B, 3, 3]``, by their cofactors.

    The inverse of a quarter turn is exact, unlike that of `torch.linalg.inv`.
    """
    (a, b, right), (c, d, down), *last = matrices.double().permute(1, 2, 0)
    g, h, i = last[0] if last else (torch.zeros_like(a), torch.zeros_like(a), torch.ones_like(a))
    to_x = [d * i - down * h, right * h - b * i, b * down - d * right]
    to_y = [down * g - c * i, a * i - right * g, c * right - a * down]
    to_depth = [c * h - d * g, b * g - a * h, a * d - b * c]
    determinant = g * to_x[2] + h * to_y[2] + i * to_depth[2]
    return (torch.stack([*to_x, *to_y, *to_depth]) / determinant).view(3, 3, -1).permute(2, 0, 1)


def draw_affnist_matrices(images: Tensor, drawn: Tensor) -> Tensor:
    """Draws a warp ``[B, 2, 3]`` for each image ``[B, C, H, W]`` from affNIST's distribution (Tieleman 2013).

    Rotation by -20 to 20 degrees, shear by -0.2 to 0.2, scales of 0.8 to 1.2 in x and in y, and any translation that keeps all
    pixels other than 0 inside the image, all uniform. If the warped object is too large for the image, it is centred.

    Args:
        drawn: ``[B, 6]`` in [0, 1), for rotation, shear, both scales, and the translation in x and y.
    """
    rotation, shear, scale_x, scale_y = (2 * drawn[:, :4].double() - 1).unbind(1)
    linear = build_linear_parts(ROTATION * rotation, SHEAR * shear, 1 + SCALE * scale_x, 1 + SCALE * scale_y)
    low, high = _find_ink_box(images, linear)
    # The nearest pixels outside, which must stay 0, are this far from the centre.
    outside = (torch.tensor([images.shape[3], images.shape[2]], device=images.device) + 1) / 2
    least, most = -outside - low, outside - high
    translation = (least + most) / 2 + (drawn[:, 4:].double() - 0.5) * (most - least).clamp(min=0)
    return torch.cat([linear, translation[:, :, None]], dim=2)


class Warp(Augmentation):
    """Warps each image and its targets by a draw from affNIST's distribution (`draw_affnist_matrices`)."""

    draws = 6

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        matrices = draw_affnist_matrices(batch.images, drawn)
        targets = batch.targets
        if targets is not None:
            targets = warp_images(targets.flatten(1, -3), matrices).view_as(targets)
        return batch._replace(images=warp_images(batch.images, matrices), targets=targets)


RANGES = (45.0, 0.15, 0.15, math.log(1.3), 0.4, math.log(1.2), 0.3, 0.3)
"""Ranges of the parameters of the groups at level 1, on both sides of 0, in the order of `compose_homographies`.

Translations are fractions of the width and the height. Tilts are the relative distances of the right and the lower edge
beyond that of the centre; the opposite edges are nearer by the same amount.
"""

DRAWS = len(RANGES)
"""Random numbers per image for a warp of any family."""


class Family(NamedTuple):
    """Warps of one kind, by level: level 0 is the identity.

    - ``largest``: the greatest level, at which a person can still read a digit
    - ``unit``: the unit of the level
    - ``parameters``: numbers in [0, 1) ``[B, DRAWS]``, a level, height and width -> parameters of `compose_homographies`
    """

    largest: float
    unit: str
    parameters: Callable[[Tensor, float, int, int], Tensor]

    def build_homographies(self, drawn: Tensor, level: float, height: int, width: int) -> Tensor:
        """Returns the warp ``[B, 3, 3]``, float64, of each image of that size."""
        return compose_homographies(self.parameters(drawn.double(), level, height, width))


def compose_homographies(parameters: Tensor) -> Tensor:
    """Returns homographies ``[B, 3, 3]``, float64, that tilt, then scale, shear, rotate and translate; zeros: the identity.

    Args:
        parameters: ``[B, 8]``:

            - 0: rotation in degrees, counter-clockwise
            - 1, 2: translation to the right and down in pixels
            - 3: the logarithm of the scale
            - 4: shear, pixels to the right for each pixel down
            - 5: the logarithm of the stretch, the factor by which the width grows and the height shrinks
            - 6, 7: tilt: the relative distance, beyond that of the centre, of the points a pixel to the right and a pixel
              below
    """
    rotation, right, down, scale, shear, stretch, tilt_x, tilt_y = parameters.double().unbind(1)
    linear = build_linear_parts(rotation, shear, (scale + stretch).exp(), (scale - stretch).exp())
    translation, tilt = torch.stack([right, down], dim=1)[:, :, None], torch.stack([tilt_x, tilt_y], dim=1)[:, None]
    ones = torch.ones_like(tilt[:, :, :1])
    # The product of an affine matrix with rows (1, 0, 0), (0, 1, 0) and (tilt, 1)
    return torch.cat(
        [torch.cat([linear + translation @ tilt, translation], dim=2), torch.cat([tilt, ones], dim=2)], dim=1
    )


def _draw_sign(drawn: Tensor) -> Tensor:
    return torch.where(drawn < 0.5, -1.0, 1.0).to(drawn.dtype)


def _draw_rotation(drawn: Tensor, level: float, height: int, width: int) -> Tensor:
    return _fill_parameters(drawn, {0: level * _draw_sign(drawn[:, 0])})


def _draw_translation(drawn: Tensor, level: float, height: int, width: int) -> Tensor:
    angle = 2 * math.pi * drawn[:, 1]
    return _fill_parameters(
        drawn, {1: (level * width * angle.cos()).round(), 2: (level * height * angle.sin()).round()}
    )


def _draw_scale(drawn: Tensor, level: float, height: int, width: int) -> Tensor:
    return _fill_parameters(drawn, {3: math.log1p(level) * _draw_sign(drawn[:, 3])})


def _draw_shear(drawn: Tensor, level: float, height: int, width: int) -> Tensor:
    return _fill_parameters(drawn, {4: level * _draw_sign(drawn[:, 4])})


def _fill_parameters(drawn: Tensor, parameters: dict[int, Tensor]) -> Tensor:
    """Returns all parameters ``[B, DRAWS]``: the given ones, and 0 for the others."""
    return torch.stack([parameters.get(i, torch.zeros_like(drawn[:, i])) for i in range(DRAWS)], dim=1)


def _build_group(first: int) -> Callable[[Tensor, float, int, int], Tensor]:
    """Returns a function that draws the ``first`` parameters, each uniform within its range times the level."""

    def draw_parameters(drawn: Tensor, level: float, height: int, width: int) -> Tensor:
        in_pixels = (1, width, height, 1, 1, 1, 2 / width, 2 / height)
        reach = [
            most * pixels if i < first else 0.0 for i, (most, pixels) in enumerate(zip(RANGES, in_pixels, strict=True))
        ]
        return level * drawn.new_tensor(reach) * (2 * drawn - 1)

    return draw_parameters


FAMILIES: dict[str, Family] = {
    "rotation": Family(60.0, "degrees", _draw_rotation),
    "translation": Family(0.25, "fraction of the side", _draw_translation),
    "scale": Family(0.5, "factor less 1", _draw_scale),
    "shear": Family(0.6, "pixels right for a pixel down", _draw_shear),
    "Euclidean": Family(1.0, "fraction of the ranges", _build_group(3)),
    "similarity": Family(1.0, "fraction of the ranges", _build_group(4)),
    "affine": Family(1.0, "fraction of the ranges", _build_group(6)),
    "projective": Family(1.0, "fraction of the ranges", _build_group(8)),
}
"""Warps by one parameter, and by the transformation groups, each of which contains the one before it.

A warp by one parameter has exactly the given level, in a random direction: ``rotation`` 30 turns by 30 degrees, clockwise or
counter-clockwise; ``translation`` 0.1 moves by a tenth of the side, rounded to whole pixels so that nothing is blurred;
``scale`` 0.25 enlarges or shrinks by a factor of 1.25; ``shear`` 0.3 moves by 0.3 pixels for each pixel above or below the
centre. In a group, each parameter is uniform within its range (`RANGES`) times the level. Groups draw their common parameters
from the same numbers: the affine warp of an image is its similarity with shear and stretch added. Pixels that leave the image
are lost.
"""


def _centre_coordinates(images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns y ``[H, 1]`` and x ``[W]`` of the pixels of images, from the centre."""
    y, x = (torch.arange(n, dtype=images.dtype, device=images.device) - (n - 1) / 2 for n in images.shape[2:])
    return y[:, None], x


def _find_ink_box(images: Tensor, linear: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the least and the greatest x and y ``[B, 2]`` of the ink of images after a warp ``[B, 2, 2]``.

    Ink, the pixels other than 0, extends by one pixel along both axes. An image without ink counts as full of it.
    """
    ink = (images != 0).any(dim=1, keepdim=True).flatten(2)  # [B, 1, H * W]
    blank = ~ink & ink.any(dim=2, keepdim=True)
    y, x = (part.expand(images.shape[2:]).flatten() for part in _centre_coordinates(images))
    linear_part = linear.to(images.dtype)
    moved = linear_part[:, :, :1] * x + linear_part[:, :, 1:] * y
    low = moved.masked_fill(blank, torch.inf).amin(dim=2)
    high = moved.masked_fill_(blank, -torch.inf).amax(dim=2)
    reach = linear.abs().sum(dim=2)
    return low - reach, high + reach


def choose_outside(images: Tensor) -> Outside:
    """Returns the `Outside` of images ``[N, C, H, W]``: zeros if at least half of the pixels along their edges are 0."""
    edges = [images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]]
    dark = sum(int((edge == 0).sum()) for edge in edges)
    return "zeros" if 2 * dark >= sum(edge.numel() for edge in edges) else "border"
