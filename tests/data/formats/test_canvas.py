import torch
from torch import Tensor

from capsbench.data.augment import Shift
from capsbench.data.formats.canvas import augment_once, place_on_canvas
from capsbench.data.images import Augmentation, Batch, Images

IMAGES = Images(torch.rand(2500, 1, 4, 5, generator=torch.Generator().manual_seed(0)), torch.arange(2500) % 3)


class Remember(Augmentation):
    """Writes the numbers drawn for an image, and how many images there are to choose from, into its pixels."""

    draws = 2

    def __call__(self, batch: Batch, drawn: Tensor, train: Images) -> Batch:
        count = torch.full((len(drawn), 1), len(train.labels))
        return Batch(torch.cat([drawn, count], dim=1), batch.labels + 1)


def test_images_get_a_margin_of_zero_on_every_side() -> None:
    larger = place_on_canvas(IMAGES, 3)
    assert larger.images.shape == (2500, 1, 10, 11)
    assert larger.images[:, :, 3:-3, 3:-3].equal(IMAGES.images)
    torch.testing.assert_close(larger.images.sum(), IMAGES.images.sum())
    assert larger.labels is IMAGES.labels


def test_once_is_the_same_at_every_call_and_another_for_each_image_and_seed() -> None:
    numbers, labels = augment_once(IMAGES, Remember(), seed=1)
    assert numbers.equal(augment_once(IMAGES, Remember(), seed=1).images)
    assert not numbers.equal(augment_once(IMAGES, Remember(), seed=2).images)
    assert len(numbers[:, :2].unique()) == 5000
    assert 0 <= numbers[:, :2].min() < 0.01
    assert 0.99 < numbers[:, :2].max() < 1
    assert labels.equal(IMAGES.labels + 1)


def test_once_gives_an_augmentation_all_images_to_choose_from() -> None:
    assert set(augment_once(IMAGES, Remember(), seed=1).images[:, 2].tolist()) == {2500}


def test_every_place_on_the_canvas_comes() -> None:
    dots = Images(torch.ones(2500, 1, 1, 1), torch.zeros(2500, dtype=torch.int64))
    places = augment_once(place_on_canvas(dots, 2), Shift(2), seed=1).images.flatten(1)
    assert places.sum(dim=1).eq(1).all()
    counts = places.argmax(dim=1).bincount()
    assert len(counts) == 25
    assert counts.min() > 60
    assert counts.max() < 140
