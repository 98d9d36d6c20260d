"""MultiMNIST (Sabour 2017, section 6): two digits on top of each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from capsbench.data.augment import shifted
from capsbench.data.base import Dataset
from capsbench.data.formats.canvas import on_canvas, once
from capsbench.data.images import Augmentation, Batch, Images, ImageShape, Splits
from capsbench.data.lazy import torch
from capsbench.data.sets.mnist import MNIST

if TYPE_CHECKING:
    from torch import Tensor

PAIRS_SEED = 3
"""Decides which digits validation and test images are made of, and where they lie: the same in every experiment."""

Rule = Literal["sum", "maximum"]
"""How two digits make one image: their sum up to 1, as the authors' code has it, or the brighter pixel."""


class MultiMNIST(Dataset):
    """Two digits of different classes, each shifted by up to 4 pixels, overlaid on 36x36 (Sabour 2017, section 6).

    Each digit of a split is overlaid with another of the same split: those of training with a new one in every epoch, those
    of validation and test with one that is drawn once. (The paper draws 1,000 for each digit, so 60 million and 10 million
    images.) An image counts as right when both digits are found.
    """

    base: ClassVar[type[Dataset]] = MNIST
    """Whose images are overlaid, of 28x28 pixels."""

    rule: ClassVar[Rule] = "sum"
    """How two digits make one image."""

    margin: ClassVar[int] = 4
    """Pixels of 0 around a digit, by which it is shifted at most."""

    image = ImageShape(1, 36, 36)
    classes = 10
    labels_an_image = 2
    files = MNIST.files
    licence = MNIST.licence
    source = "Sabour, Frosst, Hinton 2017, section 6; digits: " + MNIST.source

    def load(self, folder: Path) -> Splits:
        digits = self.base().load(folder)
        train, validation, test = (
            on_canvas(part, self.margin) for part in (digits.train, digits.validation, digits.test)
        )
        overlay = Overlay(self.margin, self.rule)
        return Splits(
            train,
            once(validation, overlay, PAIRS_SEED),
            once(test, overlay, PAIRS_SEED),
            augmentations=(overlay,),
            about={"test": {"overlap": once(test, Shared(self.margin, self.rule), PAIRS_SEED).images.flatten()}},
        )


class Overlay(Augmentation):
    """Overlays each image with one of another class out of ``train``; the targets are the two alone.

    Args:
        most: each of the two is shifted by -most..most whole pixels along both axes.
        rule: `Rule`.
    """

    draws = 5

    def __init__(self, most: int, rule: Rule = "sum") -> None:
        self.most, self.rule = most, rule

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        partners = of_another_class(batch.labels, train.labels, drawn[:, 0])
        below = shifted(batch.images, self.most, drawn[:, 1:3])
        above = shifted(train.images[partners], self.most, drawn[:, 3:5])
        both = torch.stack([below, above], dim=1)
        images = both.sum(dim=1).clamp(max=1) if self.rule == "sum" else both.amax(dim=1)
        labels = torch.stack([batch.labels, train.labels[partners]], dim=1)
        return batch._replace(images=images, labels=labels, targets=both)


class Shared(Overlay):
    """Of each image that `Overlay` makes how much of the ink of its two objects is where both have some, ``[B, 1, 1, 1]``.

    It is the sum of the darker of the two at each pixel, as a part of the sum of the object that has less: 0 where they do not
    touch, 1 where one covers the other.
    """

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        both = super().__call__(batch, drawn, train).targets
        assert both is not None
        least = both.sum(dim=(2, 3, 4)).amin(dim=1)
        shared = both.amin(dim=1).sum(dim=(1, 2, 3)) / least.clamp(min=1e-6)
        return batch._replace(images=shared[:, None, None, None])


def of_another_class(labels: Tensor, among: Tensor, drawn: Tensor) -> Tensor:
    """For each of the labels ``[B]`` the index of one of ``among [N]`` that differs, all alike likely.

    Args:
        drawn: ``[B]``, uniform in [0, 1).
    """
    ordered, order = among.short().sort(stable=True)  # short numbers are sorted in a quarter of the time
    first, end = (torch.searchsorted(ordered, labels.short(), right=right) for right in (False, True))
    same = end - first
    others = len(among) - same
    rank = torch.minimum((drawn * others).long(), others - 1)  # in half precision a product can round up to the bound
    return order[torch.where(rank < first, rank, rank + same)]
