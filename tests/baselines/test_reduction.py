"""The reduction of large images: how often, to which shape, and that small images are left alone."""

import pytest
import torch

from capsbench_baselines.reduction import CHANNELS, count_reductions, make_reduction, reduce_shape


@pytest.mark.parametrize(
    ("sides", "reductions"),
    [
        *[((8, 8), 0), ((32, 32), 0), ((40, 40), 0), ((63, 63), 0)],
        *[((64, 64), 1), ((96, 96), 2), ((128, 128), 2), ((224, 224), 3)],
        *[((64, 20), 0), ((224, 48), 1)],
    ],
)
def test_large_images_are_halved_until_they_are_small(sides, reductions):
    assert count_reductions((3, *sides)) == reductions


@pytest.mark.parametrize("sides", [(64, 64), (97, 130), (224, 224)])
def test_the_shape_is_that_of_the_reduced_images(sides):
    image = (3, *sides)
    for reductions in range(4):
        images = make_reduction(3, reductions)(torch.rand(2, *image))
        assert tuple(images.shape[1:]) == reduce_shape(image, reductions)


def test_no_reduction_changes_nothing_and_draws_no_random_number():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 8, 8)
    state = torch.get_rng_state()
    assert torch.equal(make_reduction(3, 0)(images), images)
    assert torch.equal(torch.get_rng_state(), state)
    assert reduce_shape((3, 8, 8), 0) == (3, 8, 8)


def test_each_reduction_has_few_parameters():
    count = sum(parameter.numel() for parameter in make_reduction(3, 3).parameters())
    assert count == 9 * 3 * CHANNELS + 2 * 9 * CHANNELS * CHANNELS + 3 * 2 * CHANNELS
