"""Decodes image files, and brings images to one size and one number of channels."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from capsbench.data.images import ImageShape
from capsbench.errors import FOREIGN, Kind, UsageError, message_of
from capsbench.records.disk import read_file

Pixels = NDArray[Any]
"""An image ``[H, W]`` or ``[H, W, C]``: uint8, uint16, or floats from 0 to 1."""

GREY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""The modes of Pillow that have no colour."""

LONGEST_SIDE = 4096

EXIF_ORIENTATION = 0x0112


class UnreadableError(ValueError):
    """Raised for an image that cannot be read; the message is the reason, a phrase."""


class Size(NamedTuple):
    """Height and width; a width of 0 leaves the aspect ratio as it is, and the height is that of the shorter side."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}" if self.width else str(self.height)


class Fit(NamedTuple):
    """The resizing of an image, then the crop of its centre; None leaves the image as it is."""

    resize: Size | None = None
    crop: Size | None = None

    def scale_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns height and width of an image after the resizing."""
        if self.resize is None:
            return height, width
        if self.resize.width:
            return self.resize
        side, shorter = self.resize.height, min(height, width)
        return max(1, round(height * side / shorter)), max(1, round(width * side / shorter))

    def holds(self, size: tuple[int, int]) -> bool:
        """Returns true if the crop is not larger than an image of a size."""
        return self.crop is None or (self.crop.height <= size[0] and self.crop.width <= size[1])

    def fit_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns height and width of an image after resizing and crop; raises UsageError for a crop that is too large."""
        height, width = self.scale_size(height, width)
        if self.crop is None:
            return height, width
        if not self.holds((height, width)):
            expected = f"at most {height}x{width}, the size of the smallest image, or a larger {{flag:resize}}"
            raise UsageError(Kind.INVALID, flag="crop", expected=expected, value=str(self.crop))
        return self.crop


def parse_size(flag: str, text: str, *, square: bool = False) -> Size | None:
    """Parses ``none``, ``64`` or ``48x64`` (height x width).

    Args:
        flag: the flag that the error names.
        square: a single number is both sides.
    """
    if text == "none":
        return None
    # One spelling of each size: the text is part of a cell's identity.
    match = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text, flags=re.ASCII)
    sides = [int(side) for side in match.groups() if side] if match else [0]
    if not all(0 < side <= LONGEST_SIDE for side in sides):
        expected = f"none, N or HEIGHTxWIDTH in pixels, from 1 to {LONGEST_SIDE}, such as 64 or 48x64"
        raise UsageError(Kind.INVALID, flag=flag, expected=expected, value=text)
    return Size(sides[0], sides[-1] if len(sides) > 1 or square else 0)


def spell_crop(text: str) -> str:
    """Returns the one spelling of a crop: ``8`` for ``8x8``; raises UsageError as `parse_size`."""
    size = parse_size("crop", text, square=True)
    if size is None:
        return text
    return str(size.height) if size.height == size.width else str(size)


# ---------------------------------------------------------------------------------------------------------------------
# Files


def read_image_file(file: Path | bytes) -> bytes:
    """Returns the bytes of an image file; raises UnreadableError."""
    try:
        return file if isinstance(file, bytes) else read_file(file, largest=math.inf)
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error


def count_bytes(file: Path | bytes) -> int:
    """Returns the size of an image file; raises UnreadableError."""
    try:
        return len(file) if isinstance(file, bytes) else file.stat().st_size
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error


def measure_file(file: Path | bytes) -> ImageShape:
    """Returns the shape of an image from the header of its file; raises UnreadableError."""
    with _open_image(file) as image:
        height, width = image.height, image.width
        if _find_orientation(image) >= 5:
            height, width = width, height
        return ImageShape(1 if _is_grey(image) else 3, height, width)


def decode_file(file: Path | bytes) -> Pixels:
    """Returns the pixels of an image file, upright; raises UnreadableError."""
    with _open_image(file) as image:
        image.load()
        return to_pixels(ImageOps.exif_transpose(image))


@contextmanager
def _open_image(file: Path | bytes) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, and of metadata that capsbench does not use.
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(file) if isinstance(file, bytes) else file) as image:
                yield image
    except UnreadableError:
        raise
    except UnidentifiedImageError:
        raise UnreadableError("no image, or of an unknown format") from None
    except FileNotFoundError:
        raise UnreadableError("no such file") from None
    except FOREIGN as error:  # decoders raise many kinds of errors for damaged files
        reason = getattr(error, "strerror", None) or message_of(error, first_line=True) or type(error).__name__
        raise UnreadableError(str(reason)) from error


def _find_orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8. Pillow would decode a whole PNG to look for it behind the pixels."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    return int(image.getexif().get(EXIF_ORIENTATION) or 1)


def _is_grey(image: Image.Image) -> bool:
    """Returns true for an image without colour, also if it has a palette of greys."""
    if image.mode not in ("P", "PA") or image.palette is None:
        return image.mode in GREY_MODES
    # The bytes of a palette are in an order of the format. Pillow puts them in its own without decoding the pixels of the image.
    order, levels = image.palette.getdata()
    looked_up = Image.new("P", (1, 1))
    looked_up.putpalette(levels, order)
    colours = np.array(looked_up.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def to_pixels(image: Image.Image) -> Pixels:
    """Returns the pixels of a decoded image: grey ``[H, W]`` or colour ``[H, W, 3]``; raises UnreadableError.

    What is transparent shows white.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _check_deep(np.array(image))
    mode = "L" if _is_grey(image) else "RGB"
    if image.has_transparency_data:
        visible = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", visible.size, "white"), visible)
    return np.array(image.convert(mode))


def _check_deep(pixels: Pixels) -> Pixels:
    """Returns grey pixels of more than 8 bits as uint16, or as floats from 0 to 1."""
    low, high = pixels.min(), pixels.max()
    if pixels.dtype.kind == "f":
        if not (low >= 0 and high <= 1):
            raise UnreadableError(f"pixels from {low:g} to {high:g}, expected floats from 0 to 1")
        return pixels.astype(np.float32)
    if low < 0 or high > 65535:
        raise UnreadableError(f"pixels from {low} to {high}, expected at most 16 bits")
    return pixels.astype(np.uint16)


# ---------------------------------------------------------------------------------------------------------------------
# Pixels


def fit_pixels(pixels: Pixels, channels: int, fit: Fit) -> NDArray[np.float32]:
    """Returns an image ``[C, H, W]``, resized and cropped, with pixels from 0 to 1."""
    levels = fit_levels(pixels, channels, fit)
    white = {"u1": 255, "u2": 65535}.get(pixels.dtype.str[1:], 1)
    scaled = levels.astype(np.float32) / np.float32(white)
    return np.clip(scaled, 0, 1, out=scaled)


def fit_levels(pixels: Pixels, channels: int, fit: Fit) -> Pixels:
    """Returns an image ``[C, H, W]``, resized and cropped, in the range of the given pixels.

    Pillow resizes, each channel by itself, bilinearly with antialiasing. Of bytes it makes the same bytes on every machine.
    """
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    if planes.shape[2] == 1 < channels:
        planes = planes.repeat(channels, axis=2)
    size = fit.scale_size(*planes.shape[:2])
    if size != planes.shape[:2]:
        planes = np.stack([_resize_plane(planes[..., channel], size) for channel in range(planes.shape[2])], axis=2)
    if fit.crop is not None:
        top, left = (size[0] - fit.crop.height) // 2, (size[1] - fit.crop.width) // 2
        planes = planes[top : top + fit.crop.height, left : left + fit.crop.width]
    return np.ascontiguousarray(planes.transpose(2, 0, 1))


def _resize_plane(plane: Pixels, size: tuple[int, int]) -> Pixels:
    exact = plane if plane.dtype == np.uint8 else plane.astype(np.float32)
    resized = Image.fromarray(np.ascontiguousarray(exact)).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.array(resized)
