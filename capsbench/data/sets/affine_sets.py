"""Sabour 2017's test of affine generalisation on any data set: training sees translations alone, the test affine warps."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from capsbench.data.augment import Shift
from capsbench.data.base import Dataset
from capsbench.data.formats.canvas import on_canvas, once
from capsbench.data.images import Images, ImageShape, Splits
from capsbench.data.sets.fashion_mnist import FashionMNIST
from capsbench.data.sets.kmnist import KMNIST
from capsbench.data.sets.mnist import MNIST
from capsbench.data.warps import Warp

PLACES_SEED, WARPS_SEED = 1, 2
"""Decide where validation and clean test images lie, and how test images are warped: the same in every experiment."""


class AffineSet(Dataset):
    """Base class: training images of a ``base`` data set anywhere on a larger canvas, test images warped as affNIST's.

    Of one's own data set of single objects on a background of 0 it takes two lines:

        class AffineMine(AffineSet):
            base = Mine

    Training images lie in the middle of the canvas and are shifted by up to ``margin`` pixels, anew in every epoch; those of
    validation lie at places that are drawn once. Test images are warped once, by `capsbench.data.warps.Warp`. Beside them,
    ``clean`` are the same originals at random places: at equal accuracy on these Sabour 2017 (section 5.2) compares networks.

    What is not certain of affNIST itself: in which order it scales, shears and rotates, how it interpolates, and whether
    it translates by whole pixels. Here it is in this order, bilinear, and by any fraction of a pixel.
    """

    base: ClassVar[type[Dataset]]
    """Whose images these are."""

    margin: ClassVar[int] = 6
    """Pixels of 0 around an image: MNIST's 28x28 become affNIST's 40x40."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "base" not in vars(cls):
            return
        if cls.base.standardised or cls.base.labels_an_image > 1:
            raise TypeError(f"base: expected single objects on a background of 0, got {cls.base.__name__}")
        channels, height, width = cls.base.image
        cls.image = ImageShape(channels, height + 2 * cls.margin, width + 2 * cls.margin)
        cls.shift = cls.margin
        for name in ("classes", "epochs", "files", "licence", "source"):
            if name not in vars(cls):
                setattr(cls, name, getattr(cls.base, name))

    def load(self, folder: Path) -> Splits:
        originals = self.base().load(folder)
        train, validation, test = (
            on_canvas(part, self.margin) for part in (originals.train, originals.validation, originals.test)
        )
        anywhere = Shift(self.margin)
        clean = once(test, anywhere, PLACES_SEED)
        validation = once(validation, anywhere, PLACES_SEED)
        return Splits(train, validation, self.warped(test, folder), {"clean": clean}, originals.augmentations)

    def warped(self, test: Images, folder: Path) -> Images:
        """The test images, of originals in the middle of the canvas."""
        return once(test, Warp(), WARPS_SEED)


class AffineMNIST(AffineSet):
    """MNIST anywhere on 40x40 to train on, and its test images warped as affNIST's are (Sabour 2017, section 5.2).

    It needs no other files than MNIST's. The published warps are `affnist`.
    """

    base = MNIST


class AffineFashionMNIST(AffineSet):
    """Fashion-MNIST anywhere on 40x40 to train on, and its test images warped as affNIST's are.

    Clothes fill their 28x28 pixels, where digits fill 20x20 of them: after the warp up to a tenth are too large for the
    canvas, and are centred.
    """

    base = FashionMNIST


class AffineKMNIST(AffineSet):
    """KMNIST anywhere on 40x40 to train on, and its test images warped as affNIST's are."""

    base = KMNIST
