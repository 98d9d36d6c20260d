from pathlib import Path

import pytest

from capsbench.data.images import Images, Splits
from capsbench.data.sets.digits import Digits
from capsbench.data.sets.fashion_mnist import FashionMNIST
from capsbench.data.sets.shifted_set import ShiftedSet
from capsbench.data.sets.smallnorb import SmallNORB


class Darker(Digits):
    """The digits at half their brightness."""

    licence = "mine"

    def load(self, folder: Path) -> Splits:
        splits = super().load(folder)
        return Splits(splits.train, splits.validation, Images(splits.test.images / 2, splits.test.labels))


class DigitsToDarker(ShiftedSet):
    base = Digits
    shifted = Darker


def test_the_test_images_alone_are_from_elsewhere() -> None:
    splits, digits = DigitsToDarker().load(Path("nowhere")), Digits().load(Path("nowhere"))
    assert splits.train.images.equal(digits.train.images)
    assert splits.validation.images.equal(digits.validation.images)
    assert splits.test.images.equal(digits.test.images / 2)
    assert list(splits.beside) == ["clean"]
    assert splits.beside["clean"].images.equal(digits.test.images)


def test_it_is_trained_as_its_base_and_has_the_terms_of_both() -> None:
    assert (DigitsToDarker.image, DigitsToDarker.epochs, DigitsToDarker.shift) == ((1, 8, 8), 30, 1)
    assert DigitsToDarker.licence == f"{Digits.licence}; the test images: mine"
    assert DigitsToDarker().image_counts == {"train": 1097, "validation": 200, "test": 500, "clean": 500}


def test_two_sets_that_do_not_fit_are_refused() -> None:
    class OneClass(FashionMNIST):
        classes = 1

    for other in (OneClass, SmallNORB):
        with pytest.raises(TypeError, match="shifted"):
            type("Wrong", (ShiftedSet,), {"base": Digits, "shifted": other})
