from pathlib import Path

import pytest
import torch
from torch import Tensor

from capsbench import registry
from capsbench.data.augment import Augmented
from capsbench.data.base import Dataset, load_splits
from capsbench.data.images import Batch, Images, ImageShape, Splits
from capsbench.data.sets.multimnist import MultiMNIST, Overlay, Rule, Shared, draw_other_class

PLACES = range(-1, 2)


def pictures(count: int, classes: int = 3, side: int = 6, margin: int = 1, seed: int = 0) -> Images:
    """Images of noise with a margin of 0, labelled in turn."""
    images = torch.zeros(count, 1, side, side)
    inside = slice(margin, side - margin)
    noise = torch.rand(count, 1, side - 2 * margin, side - 2 * margin, generator=torch.Generator().manual_seed(seed))
    images[:, :, inside, inside] = noise
    return Images(images, torch.arange(count) % classes)


def moved(image: Tensor, down: int, right: int) -> Tensor:
    """What is moved has a margin of 0, so that nothing is lost where it is rolled."""
    return image.roll((down, right), dims=(1, 2))


def overlaid(train: Images, rule: Rule = "sum", count: int = 200) -> Batch:
    which = torch.arange(count) % len(train.labels)
    drawn = torch.rand(count, 5, generator=torch.Generator().manual_seed(1))
    return Overlay(1, rule)(Batch(train.images[which], train.labels[which]), drawn, train)


def test_an_image_is_overlaid_with_any_of_another_class_each_at_its_own_place() -> None:
    train = pictures(6)
    batch = overlaid(train)
    assert batch.targets is not None
    seen, together = set(), set()
    for i in range(200):
        below, above = batch.targets[i]
        first = i % 6
        places = [(y, x) for y in PLACES for x in PLACES if below.equal(moved(train.images[first], y, x))]
        partners = [
            (j, y, x) for j in range(6) for y in PLACES for x in PLACES if above.equal(moved(train.images[j], y, x))
        ]
        assert len(places) == len(partners) == 1
        second = partners[0][0]
        assert batch.labels[i].tolist() == [first % 3, second % 3]
        assert first % 3 != second % 3
        seen.add((first, second))
        together.add((places[0], partners[0][1:]))
    assert len(seen) == 6 * 4
    assert len(together) > 65  # of 9 x 9 pairs of places


@pytest.mark.parametrize("rule", ["sum", "maximum"])
def test_two_make_one_image(rule: Rule) -> None:
    batch = overlaid(pictures(6), rule)
    assert batch.targets is not None
    below, above = batch.targets.unbind(1)
    expected = (below + above).clamp(max=1) if rule == "sum" else torch.maximum(below, above)
    assert torch.equal(batch.images, expected)
    assert (below + above).max() > 1


def test_shared_ink_is_what_both_have_as_a_part_of_the_lesser() -> None:
    train, which = pictures(6), torch.arange(60) % 6
    drawn = torch.rand(60, 5, generator=torch.Generator().manual_seed(1))
    batch = Batch(train.images[which], train.labels[which])
    both = Overlay(1)(batch, drawn, train).targets
    assert both is not None
    shared = Shared(1)(batch, drawn, train).images
    for (below, above), found in zip(both[:, :, 0].numpy(), shared.flatten().tolist(), strict=True):
        expected = sum(min(a, b) for a, b in zip(below.flat, above.flat, strict=True))
        assert found == pytest.approx(expected / min(below.sum(), above.sum()), rel=1e-5)
    assert 0 < shared.min() < shared.max() < 1


@pytest.mark.usefixtures("small")
def test_the_test_images_say_how_much_ink_is_shared() -> None:
    splits = load_splits("multimnist", Path("nowhere"))
    overlap = splits.to("cpu", torch.float64).about["test"]["overlap"]
    assert overlap.shape == (20,)
    assert ((overlap > 0) & (overlap < 1)).all()


@pytest.mark.parametrize("label", [0, 1, 2, 4])
def test_all_of_another_class_are_alike_likely(label: int) -> None:
    among = torch.tensor([4, 0, 0, 2, 1, 0, 4, 2, 0])
    others = [index for index, other in enumerate(among.tolist()) if other != label]
    drawn = (torch.arange(len(others)) + 0.5) / len(others)
    found = draw_other_class(torch.full((len(others),), label), among, drawn)
    assert sorted(found.tolist()) == others
    ends = draw_other_class(torch.tensor([label, label]), among, torch.tensor([0.0, 1 - 2**-24]))
    assert {*ends.tolist()} == {int(found[0]), int(found[-1])}


class Small(Dataset):
    """MNIST's form, 40 images to train on and 20 in each other part."""

    image = ImageShape(1, 28, 28)
    classes = 10

    def load(self, folder: Path) -> Splits:
        counts = (40, 20, 20)
        return Splits(*(pictures(count, 10, 28, 4, seed) for seed, count in enumerate(counts)))


class SmallMultiMNIST(MultiMNIST):
    base = Small


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BUILT_IN["dataset"], "multimnist", f"{__name__}:SmallMultiMNIST")


@pytest.mark.usefixtures("small")
def test_training_shows_single_digits_until_they_are_overlaid_anew_in_every_epoch() -> None:
    splits = load_splits("multimnist", Path("nowhere"))
    assert splits.train.images.shape == (40, 1, 36, 36)
    assert splits.train.labels.shape == (40,)
    generator = torch.Generator().manual_seed(0)
    first, second = (
        Augmented(splits.train, splits.augmentations, generator).build_batch(torch.arange(40)) for _ in range(2)
    )
    assert first.labels.shape == second.labels.shape == (40, 2)
    assert first.labels[:, 0].equal(splits.train.labels)
    assert not first.labels.equal(second.labels)
    assert first.targets is not None
    assert first.targets.shape == (40, 2, 1, 36, 36)
    assert first.targets.amax() <= 1


@pytest.mark.usefixtures("small")
def test_few_examples_are_overlaid_with_one_another_alone() -> None:
    splits = load_splits("multimnist", Path("nowhere"), train_size=10)
    batch = Augmented(splits.train, splits.augmentations, torch.Generator().manual_seed(0)).build_batch(
        torch.arange(10)
    )
    assert batch.targets is not None
    ink = {round(float(image.sum()), 3) for image in splits.train.images}
    assert {round(float(image.sum()), 3) for image in batch.targets.flatten(0, 1)} <= ink


@pytest.mark.usefixtures("small")
def test_validation_and_test_are_pairs_of_their_own_split_the_same_at_every_call() -> None:
    splits, again = (load_splits("multimnist", Path("nowhere")) for _ in range(2))
    digits = Small().load(Path("nowhere"))
    for part, same, single in (
        (splits.validation, again.validation, digits.validation),
        (splits.test, again.test, digits.test),
    ):
        assert part.images.shape == (20, 1, 36, 36)
        assert part.images.equal(same.images)
        assert part.labels[:, 0].equal(single.labels)
        assert (part.labels[:, 0] != part.labels[:, 1]).all()
        ink = single.images.sum(dim=(1, 2, 3))
        # clipping takes ink away, so a pair has at most that of its first and of some other of its split
        assert (part.images.sum(dim=(1, 2, 3)) <= ink + ink.max() + 1e-3).all()
        assert (part.images.sum(dim=(1, 2, 3)) >= ink - 1e-3).all()


def test_two_digits_of_mnist_overlap_as_boxes_of_20_by_20_do(mnist_folder: Path) -> None:
    splits = load_splits("multimnist", mnist_folder)
    batch = Augmented(splits.train, splits.augmentations, torch.Generator().manual_seed(0)).build_batch(
        torch.arange(2000)
    )
    assert batch.targets is not None
    ink = batch.targets[:, :, 0] > 0
    sides = []
    for axis in (2, 3):
        extent = ink.any(dim=axis).long()
        low, high = extent.argmax(dim=2), extent.shape[2] - extent.flip(2).argmax(dim=2)
        shared = (high.amin(dim=1) - low.amax(dim=1)).clamp(min=0)
        sides.append((shared, high - low))
    overlap = sides[0][0] * sides[1][0] / (sides[0][1] * sides[1][1]).amin(dim=1)
    # Boxes of 20x20, both shifted by up to 4: |difference| has a mean of 80 / 27. The paper says 80 %, which is what
    # boxes share of which one alone is shifted.
    expected = (1 - 80 / 27 / 20) ** 2
    assert abs(overlap.mean() - expected) < 0.02
