"""Images from elsewhere, as the data sets prepare theirs."""

import pytest
import torch

from capsbench import registry
from capsbench.data.prepare import resize_images, standardise_images


def draw(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def test_an_image_of_the_size_stays_and_a_divisible_one_becomes_the_means_of_blocks():
    image = draw(2, 3, 8, 12)
    assert resize_images(image, 8, 12) is image
    small = resize_images(image, 4, 3)
    assert small.shape == (2, 3, 4, 3)
    torch.testing.assert_close(small[0, 1, 2, 1], image[0, 1, 4:6, 4:8].mean())


@pytest.mark.parametrize("size", [(5, 5), (7, 30), (100, 3)])
def test_any_other_size_is_interpolated_within_the_range(size):
    resized = resize_images(draw(1, 1, *size), 8, 8)
    assert resized.shape == (1, 1, 8, 8)
    assert resized.min() >= 0
    assert resized.max() <= 1


def test_a_constant_image_stays_constant():
    torch.testing.assert_close(resize_images(torch.full((1, 1, 11, 13), 0.25), 8, 8), torch.full((1, 1, 8, 8), 0.25))


def prepare(name, images):
    return registry.get("dataset", name)().prepare_images(images)


@pytest.mark.parametrize("name", registry.names("dataset"))
@pytest.mark.parametrize("size", [(20, 20), (96, 96), (50, 31)])
def test_every_data_set_prepares_images_of_any_size_in_its_range(name, size):
    dataset = registry.get("dataset", name)
    prepared = prepare(name, draw(2, dataset.image.channels, *size))
    assert prepared.shape == (2, *dataset.image)
    assert prepared.isfinite().all()
    assert dataset.standardised or (prepared.min() >= 0 and prepared.max() <= 1)


def test_smallnorb_is_prepared_as_its_published_photographs_are():
    """Means of blocks of 2x2, standardised over both cameras, then the centre of 32x32."""
    pair = (255 * draw(1, 2, 96, 96)).round()
    halved = pair.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5))
    expected = ((halved - halved.mean()) / halved.std(correction=0))[..., 8:40, 8:40]
    torch.testing.assert_close(prepare("smallnorb", pair / 255), expected, rtol=1e-4, atol=1e-4)


def test_an_image_of_one_grey_level_is_standardised_to_0():
    assert not standardise_images(torch.full((1, 1, 4, 4), 77.0)).any()


def test_a_patch_of_cifar10_is_the_centre_of_the_whole_image():
    image = draw(1, 3, 32, 32)
    assert torch.equal(prepare("cifar10-24", image), image[..., 4:28, 4:28])


def test_a_canvas_has_the_object_in_its_centre_at_its_own_size():
    digit = draw(1, 1, 28, 28)
    canvas = prepare("affine-mnist", digit)
    assert torch.equal(canvas[..., 6:34, 6:34], digit)
    assert int((canvas != 0).sum()) == int((digit != 0).sum())
    assert torch.equal(prepare("affine-mnist", canvas), canvas)


@pytest.mark.parametrize("name", registry.names("dataset"))
def test_each_class_has_a_name_or_none_has(name):
    dataset = registry.get("dataset", name)
    assert len({*dataset.class_names}) in (0, dataset.classes)
