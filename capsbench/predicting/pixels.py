"""Reads images of any kind as tensors of a network's channels: files, Pillow's images, arrays and tensors."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from capsbench.data.own.decoding import Pixels, UnreadableError, decode_file, to_pixels
from capsbench.errors import Kind, UsageError
from capsbench.presenting.notebook import Shot
from capsbench.records.disk import read_file

FLAG = "IMAGE"
"""The name of an image in errors, as `capsbench predict` has it."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601), as in Pillow."""

SHOWN_HEIGHT = 112
"""The height of an image in a notebook, in pixels: small ones are enlarged to about this."""

MOST_LEVELS = {torch.uint8: 255, torch.uint16: 65_535, torch.bool: 1}
"""Type of whole numbers -> the number that is a pixel of 1."""


def read_pixels(image: Any, channels: int) -> Tensor:
    """Returns one image as a tensor ``[channels, H, W]`` of float32; whole numbers are scaled to 0 to 1.

    Args:
        image: the path of a file, an image of Pillow, an array ``[H, W]`` or ``[H, W, C]``, or a tensor ``[C, H, W]`` or
            ``[H, W]``.
        channels: grey images are repeated for 3 channels, and colours become grey for 1.

    Raises:
        UsageError: the file cannot be read, or the image has another form.
    """
    if isinstance(image, str | os.PathLike):
        image = open_picture(Path(image))
    if isinstance(image, Image.Image):
        image = _from_picture(image)
    if isinstance(image, np.ndarray):
        return _match_channels(_from_array(image), channels)
    if isinstance(image, Tensor):
        return _match_channels(_from_tensor(image), channels)
    expected = "a path, an image of Pillow, an array [H, W] or [H, W, C], or a tensor [C, H, W]"
    raise UsageError(Kind.INVALID, flag=FLAG, expected=expected, value=type(image).__name__)


def open_picture(path: Path) -> Pixels:
    """Returns the pixels of an image file, turned as its EXIF data say; raises UsageError if it is none, or is damaged."""
    try:
        content = read_file(path)
    except FileNotFoundError as error:
        raise UsageError(Kind.MISSING, "no such file", flag=FLAG, file=path) from error
    except OSError as error:
        raise UsageError(Kind.INACCESSIBLE, f"cannot be read: {error.strerror}", flag=FLAG, file=path) from error
    try:
        return decode_file(content)
    except UnreadableError as error:
        raise UsageError(Kind.DAMAGED, f"cannot be read: {error}", flag=FLAG, file=path) from error


def _from_picture(picture: Image.Image) -> Pixels:
    """Returns the pixels of an image of Pillow; raises UsageError for grey levels outside of their range."""
    try:
        return to_pixels(picture)
    except UnreadableError as error:
        raise UsageError(Kind.INVALID, str(error), flag=FLAG, value=picture.mode) from error


def _from_array(array: NDArray[Any]) -> Tensor:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] > 4):
        raise UsageError(
            Kind.INVALID, flag=FLAG, expected="an array [H, W] or [H, W, C]", value=f"{array.dtype} {list(array.shape)}"
        )
    planes = array[:, :, None] if array.ndim == 2 else array
    try:
        return _scale_levels(torch.from_numpy(np.array(planes.transpose(2, 0, 1), order="C")))
    except TypeError as error:  # types that torch lacks, such as objects
        raise _refuse_type(array.dtype) from error


def _from_tensor(tensor: Tensor) -> Tensor:
    if tensor.dim() not in (2, 3):
        shape = f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
        raise UsageError(Kind.INVALID, flag=FLAG, expected="a tensor [C, H, W] or [N, C, H, W]", value=shape)
    return _scale_levels(tensor.detach().unsqueeze(0) if tensor.dim() == 2 else tensor.detach())


def _scale_levels(pixels: Tensor) -> Tensor:
    """Returns floats as they are, and whole numbers divided by the largest of their type."""
    if 0 in pixels.shape:
        raise UsageError(Kind.INVALID, flag=FLAG, expected="an image of one pixel or more", value=list(pixels.shape))
    if pixels.is_floating_point():
        return pixels.float()
    if pixels.dtype not in MOST_LEVELS:
        raise _refuse_type(str(pixels.dtype).removeprefix("torch."))
    return pixels.float() / MOST_LEVELS[pixels.dtype]


def _refuse_type(dtype: object) -> UsageError:
    expected = "pixels of uint8, of uint16, or floats from 0 to 1"
    return UsageError(Kind.INVALID, flag=FLAG, expected=expected, value=str(dtype))


def _match_channels(pixels: Tensor, channels: int) -> Tensor:
    """Converts ``[C, H, W]`` to other channels: from grey to colours and back; raises UsageError for other numbers."""
    if len(pixels) == channels:
        return pixels
    if len(pixels) == 1 and channels == 3:
        return pixels.expand(3, -1, -1)
    if len(pixels) == 3 and channels == 1:
        return torch.einsum("chw,c->hw", pixels, pixels.new_tensor(LUMA)).unsqueeze(0)
    expected = {1: "grey or colours", 3: "colours or grey", 2: "a stereo pair, a tensor [2, H, W]"}
    wanted = expected.get(channels, f"{channels} channels")
    raise UsageError(Kind.INVALID, flag=FLAG, expected=wanted, value=f"{len(pixels)} channels")


def draw_pixels(name: str, image: Tensor) -> Shot:
    """Returns an image ``[C, H, W]`` as a picture for a notebook; one that is standardised has its own black and white."""
    low, high = float(image.min()), float(image.max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scaled = (255 * (image - low) / max(high - low, 1e-9)).round().clamp(0, 255).to(torch.uint8).cpu()
    pixels = scaled.permute(1, 2, 0).numpy() if len(scaled) == 3 else scaled[0].numpy()  # of several channels the first
    factor = max(1, SHOWN_HEIGHT // pixels.shape[0])
    drawn = Image.fromarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1))
    file = BytesIO()
    drawn.save(file, "png")
    return Shot(name, name, "png", file.getvalue(), drawn.width)
