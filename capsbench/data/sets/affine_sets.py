"""Sabour 2017's test of affine generalisation on any data set: training images are only translated, test images are warped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from capsbench.data.augment import Shift
from capsbench.data.base import Dataset
from capsbench.data.formats.canvas import augment_once, place_on_canvas
from capsbench.data.images import Images, ImageShape, Splits
from capsbench.data.lazy import functional as F
from capsbench.data.sets.fashion_mnist import FashionMNIST
from capsbench.data.sets.kmnist import KMNIST
from capsbench.data.sets.mnist import MNIST
from capsbench.data.warps import Warp

if TYPE_CHECKING:
    from torch import Tensor

PLACES_SEED, WARPS_SEED = 1, 2
"""Seeds of the places of validation and clean test images, and of the warps of test images, the same in every experiment."""


class AffineSet(Dataset):
    """Base class: training images of a ``base`` data set at random places on a larger canvas, test images warped as affNIST's.

    A user's own data set of single objects on a background of 0 takes two lines:

        class AffineMine(AffineSet):
            base = Mine

    Training images are shifted by up to ``margin`` pixels, anew in every epoch. The places of validation images are drawn once.
    Test images are warped once, by `capsbench.data.warps.Warp`. The part ``clean`` has the unwarped test images at random
    places; Sabour 2017 (section 5.2) compares networks of equal accuracy on these.

    Some details of affNIST are unknown: its order of scaling, shearing and rotation, its interpolation, and whether it
    translates by whole pixels. Here the order is this one, the interpolation bilinear, and translations are by any fraction of
    a pixel.
    """

    base: ClassVar[type[Dataset]]
    """The data set of the original images."""

    margin: ClassVar[int] = 6
    """Pixels of 0 around an image, such as 6 from MNIST's 28x28 to affNIST's 40x40."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "base" not in vars(cls):
            return
        if cls.base.standardised or cls.base.labels_an_image != 1:
            raise TypeError(f"base: expected single objects on a background of 0, got {cls.base.__name__}")
        channels, height, width = cls.base.image
        cls.image = ImageShape(channels, height + 2 * cls.margin, width + 2 * cls.margin)
        cls.shift = cls.margin
        for name in ("classes", "class_names", "epochs", "files", "licence", "source"):
            if name not in vars(cls):
                setattr(cls, name, getattr(cls.base, name))

    def load(self, folder: Path) -> Splits:
        originals = self.base().load(folder)
        train, validation, test = (
            place_on_canvas(part, self.margin) for part in (originals.train, originals.validation, originals.test)
        )
        anywhere = Shift(self.margin)
        clean = augment_once(test, anywhere, PLACES_SEED)
        validation = augment_once(validation, anywhere, PLACES_SEED)
        return Splits(train, validation, self.warp_test(test, folder), {"clean": clean}, originals.augmentations)

    def prepare_images(self, images: Tensor) -> Tensor:
        """Takes images of the size of the canvas as they are; resizes others to that of the originals, in its centre, on 0."""
        if images.shape[2:] == self.image[1:]:
            return images
        return F.pad(self.base().prepare_images(images), (self.margin,) * 4)

    def warp_test(self, test: Images, folder: Path) -> Images:
        """Returns the warped test images. The originals ``test`` are in the centre of the canvas."""
        return augment_once(test, Warp(), WARPS_SEED)


class AffineMNIST(AffineSet):
    """MNIST at random places on 40x40 for training, and its test images warped as affNIST's (Sabour 2017, section 5.2).

    It needs only MNIST's files. `affnist` has the published warps.
    """

    base = MNIST


class AffineFashionMNIST(AffineSet):
    """Fashion-MNIST at random places on 40x40 for training, and its test images warped as affNIST's.

    Clothes fill their 28x28 pixels, while digits fill 20x20 of them. After the warp, up to a tenth are too large for the
    canvas and are centred.
    """

    base = FashionMNIST


class AffineKMNIST(AffineSet):
    """KMNIST at random places on 40x40 for training, and its test images warped as affNIST's."""

    base = KMNIST
