"""What training images go through: each transformation, and that an image gets the same one whatever its batch."""

import pytest
import torch

from capsbench.data.augment import Augmented, Crop, Flip, Jitter, Shift, shift_images
from capsbench.data.images import Batch, Images


def drawn(count, numbers=2, seed=1):
    return torch.rand(count, numbers, generator=torch.Generator().manual_seed(seed))


def images_of(count, *shape):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0)) + 0.1


def changed(augmentation, images, numbers):
    labels = torch.zeros(len(images), dtype=torch.int64)
    return augmentation(Batch(images, labels), numbers, Images(images, labels)).images


def test_every_image_moves_by_its_own_whole_pixels_and_what_comes_in_is_zero():
    images = images_of(200, 2, 5, 4)
    moved = shift_images(images, 2, drawn(200))
    seen = set()
    for image, result in zip(images, moved, strict=True):
        matches = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                expected = torch.zeros_like(image)
                for y in range(5):
                    for x in range(4):
                        if 0 <= y - down < 5 and 0 <= x - right < 4:
                            expected[:, y, x] = image[:, y - down, x - right]
                if torch.equal(result, expected):
                    matches.append((down, right))
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) == 25


@pytest.mark.parametrize(
    "augmentation", [Shift(2), Crop(4, 3), Jitter(0.5, 0.5), Flip()], ids=lambda a: type(a).__name__
)
def test_what_happens_to_an_image_happens_to_its_targets(augmentation):
    images = images_of(20, 2, 5, 5)
    batch = Batch(images, torch.zeros(20, 2, dtype=torch.int64), torch.stack([images, images], dim=1))
    after = augmentation(batch, drawn(20, augmentation.draws), Images(images, batch.labels))
    assert torch.equal(after.targets, torch.stack([after.images, after.images], dim=1))
    assert not torch.equal(after.images, images)


def test_a_shift_of_zero_changes_nothing():
    images = images_of(3, 1, 4, 4)
    assert torch.equal(shift_images(images, 0, drawn(3)), images)


def test_a_crop_is_a_window_of_the_image_and_all_windows_come():
    images = images_of(100, 2, 5, 6)
    seen = set()
    for image, result in zip(images, changed(Crop(3, 4), images, drawn(100)), strict=True):
        matches = [(y, x) for y in range(3) for x in range(3) if torch.equal(result, image[:, y : y + 3, x : x + 4])]
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) == 9


def test_jitter_scales_and_moves_the_pixels_of_each_image_within_its_bounds():
    images = images_of(500, 1, 2, 2)
    bright, contrast = drawn(500).unbind(1)
    result = changed(Jitter(brightness=0.5, contrast=0.25), images, drawn(500))
    for i in (0, 17, 499):
        expected = images[i] * (1 + 0.25 * (2 * contrast[i] - 1)) + 0.5 * (2 * bright[i] - 1)
        torch.testing.assert_close(result[i], expected)
    flat = changed(Jitter(0.5, 0.25), torch.zeros(500, 1, 2, 2), drawn(500))
    assert -0.5 <= flat.min() < -0.45
    assert 0.45 < flat.max() <= 0.5


def test_a_flip_mirrors_half_of_the_images_left_to_right():
    images = images_of(400, 1, 2, 3)
    result = changed(Flip(), images, drawn(400, 1))
    mirrored = [torch.equal(after, before.flip(2)) for before, after in zip(images, result, strict=True)]
    kept = [torch.equal(after, before) for before, after in zip(images, result, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 150 < sum(mirrored) < 250


@pytest.mark.parametrize("size", [1, 7, 50])
def test_an_image_is_augmented_in_the_same_way_whatever_the_batch(size):
    train = Images(images_of(50, 1, 6, 6), torch.arange(50) % 3)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(5))

    def epoch(batch_size):
        augmented = Augmented(train, (Crop(5, 5), Shift(1), Flip()), torch.Generator().manual_seed(2))
        batches = [augmented.build_batch(which) for which in order.split(batch_size)]
        return torch.cat([batch.images for batch in batches]), torch.cat([batch.labels for batch in batches])

    images, labels = epoch(size)
    assert torch.equal(images, epoch(50)[0])
    assert torch.equal(labels, train.labels[order])
    assert images.shape == (50, 1, 5, 5)


def test_the_next_epoch_is_augmented_in_another_way():
    train = Images(images_of(50, 1, 6, 6), torch.zeros(50, dtype=torch.int64))
    generator = torch.Generator().manual_seed(2)
    first, second = (Augmented(train, (Shift(2),), generator).build_batch(torch.arange(50)).images for _ in range(2))
    assert not torch.equal(first, second)
