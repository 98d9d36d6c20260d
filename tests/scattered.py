"""A small data set whose images show any number of classes, for tests of several rooms."""

from pathlib import Path

import torch

from capsbench.data import ANY_NUMBER, Dataset, Images, ImageShape, Splits


class Scattered(Dataset):
    """Grey images of 8x8 pixels, a bright row for each of three classes that an image shows."""

    image = ImageShape(1, 8, 8)
    classes = 3
    class_names = ("a", "b", "c")
    labels_an_image = ANY_NUMBER

    def load(self, folder: Path) -> Splits:
        part = draw_scattered(24)
        return Splits(part, part, part)


def draw_scattered(count: int) -> Images:
    """The images of all eight combinations of the classes, in turn."""
    numbers = torch.arange(count) % 8
    labels = torch.stack([numbers % 2 == 1, numbers // 2 % 2 == 1, numbers // 4 == 1], dim=1)
    images = torch.zeros(count, 1, 8, 8)
    images[:, 0, 1:6:2] = labels.float()[:, :, None]
    return Images(images, labels)
