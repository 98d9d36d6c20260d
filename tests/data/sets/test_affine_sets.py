from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from capsbench import registry
from capsbench.data.augment import Flip
from capsbench.data.base import Dataset, load_splits
from capsbench.data.files import DataFile
from capsbench.data.images import Images, ImageShape, Splits
from capsbench.data.sets import affine_sets
from capsbench.data.sets.affine_sets import AffineSet
from capsbench.data.warps import draw_affnist_matrices, warp_images


class Dashes(Dataset):
    """Images of 10x8 with a dash in the row of their label; blue and red ones."""

    image = ImageShape(2, 10, 8)
    classes = 3
    epochs = 7
    files = (DataFile("dashes", None),)
    licence, source = "a licence", "a source"
    augmentations: ClassVar[tuple[Flip, ...]] = (Flip(),)

    def load(self, folder: Path) -> Splits:
        labels = torch.arange(60) % 3
        images = torch.zeros(60, 2, 10, 8)
        images[torch.arange(60), torch.arange(60) % 2, 3 + labels, 2:6] = 0.5
        parts = [Images(images[part], labels[part]) for part in (slice(30), slice(30, 40), slice(40, 60))]
        return Splits(*parts, augmentations=self.augmentations)


class AffineDashes(AffineSet):
    base = Dashes


def loaded(monkeypatch: pytest.MonkeyPatch) -> Splits:
    """What `AffineDashes` gives, checked as any data set is."""
    monkeypatch.setitem(registry.BUILT_IN["dataset"], "affine-mnist", f"{__name__}:AffineDashes")
    return load_splits("affine-mnist", Path("nowhere"))


def test_two_lines_make_an_affine_set_of_ones_own() -> None:
    assert AffineDashes.image == (2, 22, 20)
    assert AffineDashes.shift == 6
    assert (AffineDashes.classes, AffineDashes.epochs) == (3, 7)
    assert AffineDashes.files == Dashes.files
    assert (AffineDashes.licence, AffineDashes.source) == ("a licence", "a source")


def test_what_a_subclass_says_itself_stays() -> None:
    class Mine(AffineSet):
        base = Dashes
        margin = 2
        epochs = 3

    class AlsoMine(Mine):
        source = "mine"

    assert (Mine.image, Mine.shift, Mine.epochs) == (ImageShape(2, 14, 12), 2, 3)
    assert (AlsoMine.image, AlsoMine.shift, AlsoMine.epochs) == (ImageShape(2, 14, 12), 2, 3)
    assert (Mine.source, AlsoMine.source) == ("a source", "mine")


def test_training_images_lie_in_the_middle_and_are_shifted_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    splits, originals = loaded(monkeypatch), Dashes().load(Path("nowhere"))
    assert splits.train.images[:, :, 6:-6, 6:-6].equal(originals.train.images)
    assert splits.train.labels.equal(originals.train.labels)
    assert splits.augmentations == originals.augmentations


def test_validation_and_clean_images_are_whole_originals_at_many_places(monkeypatch: pytest.MonkeyPatch) -> None:
    splits, originals = loaded(monkeypatch), Dashes().load(Path("nowhere"))
    for found, expected in ((splits.validation, originals.validation), (splits.beside["clean"], originals.test)):
        places = set()
        for image, original in zip(found.images, expected.images, strict=True):
            matches = [(y, x) for y in range(13) for x in range(13) if image[:, y : y + 10, x : x + 8].equal(original)]
            assert len(matches) == 1
            assert image.sum() == original.sum()
            places.update(matches)
        assert len(places) > len(found.labels) / 2
        assert found.labels.equal(expected.labels)


def test_test_images_are_warped_once_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    test, again = loaded(monkeypatch).test, loaded(monkeypatch).test
    assert test.images.equal(again.images)
    originals = Dashes().load(Path("nowhere")).test
    canvas = torch.zeros(20, 2, 22, 20)
    canvas[:, :, 6:-6, 6:-6] = originals.images
    drawn = torch.from_numpy(np.random.RandomState(affine_sets.WARPS_SEED).random_sample((20, 6)))
    assert test.images.equal(warp_images(canvas, draw_affnist_matrices(canvas, drawn)))
    assert test.labels.equal(originals.labels)


def test_affine_mnist_is_of_mnist(mnist_folder: Path) -> None:
    splits = load_splits("affine-mnist", mnist_folder)
    shapes = {name: tuple(part.images.shape) for name, part in splits.by_name().items()}
    assert shapes == {
        "train": (55000, 1, 40, 40),
        "validation": (5000, 1, 40, 40),
        "test": (10000, 1, 40, 40),
        "clean": (10000, 1, 40, 40),
    }
    assert splits.test.labels.equal(splits.beside["clean"].labels)
    # the ink of a digit grows and shrinks with its area, whose mean factor is 1
    ratio = splits.test.images.sum() / splits.beside["clean"].images.sum()
    assert abs(ratio - 1) < 0.01


def test_there_are_affine_sets_of_three_data_sets() -> None:
    for name, base in (
        ("affine-mnist", "mnist"),
        ("affine-fashion-mnist", "fashion-mnist"),
        ("affine-kmnist", "kmnist"),
    ):
        dataset = registry.get("dataset", name)
        assert dataset.base is registry.get("dataset", base)
        assert (dataset.image, dataset.shift) == (ImageShape(1, 40, 40), 6)
        assert dataset.files == dataset.base.files
