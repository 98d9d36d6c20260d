"""Images that show none of the classes of a data set, in the form that its networks take."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from capsbench.data.base import Dataset, load_splits
from capsbench.data.draws import draw_in_order
from capsbench.errors import TrainingFailed
from capsbench.records.parts import open_dataset

DRAW_SEED, NOISE_SEED, SHUFFLE_SEED = 0, 1, 2
"""The seeds of the draw of images and of the synthetic sets, the same in every experiment."""

NOISE, SHUFFLED = "uniform noise", "shuffled pixels"
"""The synthetic sets, which need no file."""


def is_here(name: str, folder: Path) -> bool:
    """Returns true if all files of a data set are in the data folder."""
    return all(file.find_in(folder) is not None for file in open_dataset(name).files)


def load_outside(name: str, dataset: Dataset, folder: Path, most: int) -> Tensor:
    """Returns test images ``[N, C, H, W]`` of the data set ``name``, at most so many, prepared as those of ``dataset``.

    Raises:
        UsageError: its files are damaged.
        TrainingFailed: its images have another number of channels.
    """
    test = load_splits(name, folder).test
    images = test.images[draw_in_order(test.labels, most, DRAW_SEED)]
    if images.shape[1] != dataset.image.channels:
        raise TrainingFailed(f"{name} has {images.shape[1]} channels, expected {dataset.image.channels}")
    return dataset.prepare_images(images)


def make_synthetic(images: Tensor, dataset: Dataset) -> dict[str, Tensor]:
    """Makes as many synthetic images of each kind as there are images ``[N, C, H, W]`` of the data set.

    - ``uniform noise``: each pixel uniform in [0, 1], then prepared as images from elsewhere
    - ``shuffled pixels``: the images with their pixels in a random order, another one for each image and the same for all
      channels; the grey levels stay, the shapes go
    """
    draw = torch.Generator().manual_seed(NOISE_SEED)
    noise = dataset.prepare_images(torch.rand(images.shape, generator=draw))
    draw = torch.Generator().manual_seed(SHUFFLE_SEED)
    flat = images.cpu().flatten(2)
    order = torch.rand(len(flat), 1, flat.shape[2], generator=draw).argsort(dim=2, stable=True)
    return {NOISE: noise, SHUFFLED: flat.gather(2, order.expand_as(flat)).view_as(images)}
