"""Tests of a network on images of the same classes from elsewhere: trained on one data set, tested on another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from capsbench.data.base import Dataset
from capsbench.data.images import Splits
from capsbench.data.lazy import functional as F
from capsbench.data.prepare import resize_images

if TYPE_CHECKING:
    from torch import Tensor


class ShiftedSet(Dataset):
    """Base class: trained and validated on a ``base`` data set, tested on the test images of a ``shifted`` one.

    Both have the same classes. The part ``clean`` has the test images of ``base``. A user's own pair takes three lines:

        class MineToYours(ShiftedSet):
            base = Mine
            shifted = Yours

    With the same seed, a network has the same weights as one that is trained on ``base`` itself.
    """

    base: ClassVar[type[Dataset]]
    """The data set of the training."""

    shifted: ClassVar[type[Dataset]]
    """The data set of the test images."""

    margin: ClassVar[int] = 0
    """Pixels of 0 around a test image: it is resized to the image of ``base`` without them."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "base" not in vars(cls):
            return
        if cls.base.classes != cls.shifted.classes:
            raise TypeError(f"shifted: expected {cls.base.classes} classes, as {cls.base.__name__} has")
        if cls.base.standardised or cls.shifted.standardised or cls.base.image.channels != cls.shifted.image.channels:
            raise TypeError(f"shifted: expected pixels from 0 to 1 and the channels of {cls.base.__name__}")
        for name in ("image", "classes", "class_names", "epochs", "shift", "source"):
            if name not in vars(cls):
                setattr(cls, name, getattr(cls.base, name))
        cls.files = tuple(dict.fromkeys((*cls.base.files, *cls.shifted.files)))
        cls.licence = f"{cls.base.licence}; the test images: {cls.shifted.licence}"
        cls.source = f"{cls.base.source}; the test images: {cls.shifted.source}"

    @property
    def image_counts(self) -> Mapping[str, int]:  # type: ignore[override]
        """Number of images of each part."""
        base, shifted = self.base().image_counts, self.shifted().image_counts
        return {**base, "test": shifted["test"], "clean": base["test"]} if base and shifted else {}

    def load(self, folder: Path) -> Splits:
        trained, other = self.base().load(folder), self.shifted().load(folder)
        test = other.test._replace(images=self.adapt_images(other.test.images))
        return replace(trained, test=test, beside={**trained.beside, "clean": trained.test}, about={})

    def adapt_images(self, images: Tensor) -> Tensor:
        """Brings test images ``[N, C, H, W]`` of ``shifted`` to the form of those of ``base``."""
        height, width = (side - 2 * self.margin for side in self.image[1:])
        return F.pad(resize_images(images, height, width), (self.margin,) * 4)

    def prepare_images(self, images: Tensor) -> Tensor:
        """Prepares images from elsewhere as ``base`` does."""
        return self.base().prepare_images(images)
