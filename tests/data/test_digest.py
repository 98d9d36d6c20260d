"""Digests of what a data set gave: every number counts, how it lies in memory does not."""

from dataclasses import replace

import torch

from capsbench.data import Images, Splits
from capsbench.data.digest import digest_parts, join_digests
from capsbench.sources import changed_parts


def images(count: int = 3) -> Images:
    return Images(torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(count)), torch.arange(count))


SPLITS = Splits(images(3), images(4), images(5), {"clean": images(6)}, about={"test": {"azimuth": torch.arange(5.0)}})
PARTS = digest_parts(SPLITS)


def test_each_part_has_digests_of_its_images_its_labels_and_what_is_known_of_them() -> None:
    named = [f"{part} {what}" for part in ("train", "validation", "test", "clean") for what in ("images", "labels")]
    assert [*PARTS] == [*named, "test azimuth"]
    assert len({*PARTS.values()}) == len(PARTS)


def test_the_same_numbers_have_the_same_digests_however_they_lie_in_memory() -> None:
    lying = SPLITS.test.images.transpose(2, 3).contiguous().transpose(2, 3)
    assert not lying.is_contiguous()
    assert digest_parts(replace(SPLITS, test=Images(lying, SPLITS.test.labels))) == PARTS


def test_a_changed_pixel_a_shifted_label_and_another_shape_are_told_by_their_part() -> None:
    pixels = SPLITS.test.images.clone()
    pixels[2, 0, 1, 1] += 1e-6
    shifted = SPLITS.test.labels.roll(1)
    for test, changed in (
        (Images(pixels, SPLITS.test.labels), "test images"),
        (Images(SPLITS.test.images, shifted), "test labels"),
        (Images(SPLITS.test.images.reshape(5, 1, 2, 8), SPLITS.test.labels), "test images"),
    ):
        parts = digest_parts(replace(SPLITS, test=test))
        assert changed_parts(PARTS, parts) == [changed]
        same = [a == b for a, b in zip(join_digests(PARTS).split("-"), join_digests(parts).split("-"), strict=True)]
        assert same == [changed != "test labels", changed != "test images"]
