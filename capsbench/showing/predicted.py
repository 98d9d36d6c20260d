"""Images as a network sees them, its predictions, and the decoder's reconstructions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.predicting import Prediction, TrainedNetwork
from capsbench.presenting.figures.figure import Picture
from capsbench.presenting.figures.files import render_image
from capsbench.presenting.figures.style import in_style
from capsbench.records.disk import write_file
from capsbench.showing.decoding import MOST_COLUMNS, NO_CLASS, stack_bands
from capsbench.showing.sheet import Band, to_bytes

LONGEST = 9
"""The most characters of a name above a small image."""


@in_style()
def draw_predictions(trained: TrainedNetwork, predictions: Sequence[Prediction], names: Sequence[str]) -> Picture:
    """Draws images, their predicted classes and, with a decoder, a reconstruction of each predicted class.

    Args:
        names: of the images, which stand above them.
    """
    bands = []
    for start in range(0, len(predictions), MOST_COLUMNS):
        part = predictions[start : start + MOST_COLUMNS]
        tiles = torch.stack([_make_column(trained, prediction) for prediction in part], dim=1)
        decoded = ["reconstruction"] * (len(tiles) - 1)
        heads = {
            "image": [_shorten(name) for name in names[start : start + MOST_COLUMNS]],
            "prediction": [_shorten(prediction.label or NO_CLASS) for prediction in part],
        }
        gaps = [0.0, *[0.5] * (len(part) - 1)]
        bands.append(Band(tiles, gaps, ["input", *decoded], heads))
    caption = f"Images as {trained.title} sees them, and the predicted classes."
    if trained.has_decoder:
        of = "capsules of all predicted classes" if trained.has_any_number else "capsule of each predicted class alone"
        caption += f" Below: reconstructions from the {of}; all other capsules are masked."
    if trained.dataset.standardised:
        caption += " Pixels are standardised, so each image has its own black and white."
    return stack_bands(bands).to_picture("Predictions", caption)


def write_picture(picture: Picture, path: Path, form: str) -> None:
    """Writes a picture as ``png`` or ``svg``; raises UsageError if it cannot be written there."""
    try:
        write_file(path, render_image(picture, [form]).files[form])
    except StorageFailed as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise UsageError(Kind.INACCESSIBLE, f"cannot be written: {reason}", flag="out", file=path) from error


def _make_column(trained: TrainedNetwork, prediction: Prediction) -> Tensor:
    """Returns an image and its reconstructions as bytes ``[rows, C, H, W]``, with the black and white of the image."""
    image = prediction.image
    low, high = (image.amin(), image.amax()) if trained.dataset.standardised else (0.0, 1.0)
    decoded = [] if prediction.reconstructions is None else [*prediction.reconstructions]
    return to_bytes(torch.stack([image, *decoded]), low, high)


def _shorten(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
