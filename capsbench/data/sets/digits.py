"""Digits: the handwritten digits inside scikit-learn, which need no files and no network."""

from __future__ import annotations

from pathlib import Path

import torch

from capsbench.data.base import Dataset
from capsbench.data.draws import hold_out
from capsbench.data.images import Images, ImageShape, Splits


class Digits(Dataset):
    """1,797 handwritten digits of 8x8 pixels and 17 grey levels, by 13 writers (Alpaydin, Kaynak 1998).

    A fixed stratified split: 1,097 images to train on, 200 for validation, 500 to test. Writers are not kept apart, so
    accuracies here are above those for writers never seen.
    """

    image = ImageShape(1, 8, 8)
    classes = 10
    source = "Alpaydin, Kaynak 1998; inside scikit-learn"
    licence = "CC BY 4.0"
    epochs = 30
    shift = 1

    def load(self, folder: Path) -> Splits:
        from sklearn.datasets import load_digits  # takes a second to import

        pixels, labels = load_digits(return_X_y=True)
        images = torch.from_numpy(pixels).float().div(16).reshape(-1, *self.image)
        rest, test = hold_out(Images(images, torch.from_numpy(labels).long()), 500)
        train, validation = hold_out(rest, 200)
        return Splits(train, validation, test)
