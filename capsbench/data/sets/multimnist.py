"""MultiMNIST (Sabour 2017, section 6): two digits on top of each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from capsbench.data.augment import shift_images
from capsbench.data.base import Dataset
from capsbench.data.formats.canvas import augment_once, place_on_canvas
from capsbench.data.images import Augmentation, Batch, Images, ImageShape, Splits
from capsbench.data.lazy import torch
from capsbench.data.sets.mnist import MNIST

if TYPE_CHECKING:
    from torch import Tensor

PAIRS_SEED = 3
"""Seed of the pairs and places of digits of validation and test images, the same in every experiment."""

Rule = Literal["sum", "maximum"]
"""Rule that joins two digits: their sum, limited to 1, as in the authors' code, or the brighter pixel."""


class MultiMNIST(Dataset):
    """Two digits of different classes, each shifted by up to 4 pixels, overlaid on 36x36 (Sabour 2017, section 6).

    Each digit of a split is overlaid with another of the same split, which is drawn anew in every epoch of training, and once for
    validation and test. (The paper draws 1,000 for each digit, so 60 million and 10 million images.) An image counts as
    classified correctly if both digits are predicted.
    """

    base: ClassVar[type[Dataset]] = MNIST
    """The data set of the overlaid images, of 28x28 pixels."""

    rule: ClassVar[Rule] = "sum"
    """Rule that joins two digits."""

    margin: ClassVar[int] = 4
    """Pixels of 0 around a digit, which limit its shift."""

    image = ImageShape(1, 36, 36)
    classes = 10
    labels_an_image = 2
    files = MNIST.files
    licence = MNIST.licence
    source = "Sabour, Frosst, Hinton 2017, section 6; digits: " + MNIST.source

    def load(self, folder: Path) -> Splits:
        digits = self.base().load(folder)
        train, validation, test = (
            place_on_canvas(part, self.margin) for part in (digits.train, digits.validation, digits.test)
        )
        overlay = Overlay(self.margin, self.rule)
        return Splits(
            train,
            augment_once(validation, overlay, PAIRS_SEED),
            augment_once(test, overlay, PAIRS_SEED),
            augmentations=(overlay,),
            about={
                "test": {"overlap": augment_once(test, Shared(self.margin, self.rule), PAIRS_SEED).images.flatten()}
            },
        )


class Overlay(Augmentation):
    """Overlays each image with one of another class of ``train``. The targets are the two separate images.

    Args:
        most: both images are shifted by -most..most whole pixels along both axes.
        rule: `Rule`.
    """

    draws = 5

    def __init__(self, most: int, rule: Rule = "sum") -> None:
        self.most, self.rule = most, rule

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        partners = draw_other_class(batch.labels, train.labels, drawn[:, 0])
        below = shift_images(batch.images, self.most, drawn[:, 1:3])
        above = shift_images(train.images[partners], self.most, drawn[:, 3:5])
        both = torch.stack([below, above], dim=1)
        images = both.sum(dim=1).clamp(max=1) if self.rule == "sum" else both.amax(dim=1)
        labels = torch.stack([batch.labels, train.labels[partners]], dim=1)
        return batch._replace(images=images, labels=labels, targets=both)


class Shared(Overlay):
    """Replaces each image of `Overlay` by the overlap of its two objects, ``[B, 1, 1, 1]``.

    The overlap is the sum over pixels of the smaller of the two values, divided by the sum of the object with less ink: 0 if
    they do not touch, 1 if one covers the other.
    """

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        both = super().__call__(batch, drawn, train).targets
        assert both is not None
        least = both.sum(dim=(2, 3, 4)).amin(dim=1)
        shared = both.amin(dim=1).sum(dim=(1, 2, 3)) / least.clamp(min=1e-6)
        return batch._replace(images=shared[:, None, None, None])


def draw_other_class(labels: Tensor, among: Tensor, drawn: Tensor) -> Tensor:
    """Draws for each label ``[B]`` the index of a different label in ``among [N]``, all with equal probability.

    Args:
        drawn: ``[B]``, uniform in [0, 1).
    """
    ordered, order = among.short().sort(stable=True)  # int16 sorts four times as fast
    first, end = (torch.searchsorted(ordered, labels.short(), right=right) for right in (False, True))
    same = end - first
    others = len(among) - same
    rank = torch.minimum((drawn * others).long(), others - 1)  # in half precision, a product can round up to the bound
    return order[torch.where(rank < first, rank, rank + same)]
