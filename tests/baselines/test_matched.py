import time

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from capsbench_baselines import MatchedCNN
from capsbench_baselines.errors import UnmetParameters
from capsbench_baselines.matched import count_parameters, solve_channels

IMAGES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 32, 32)]


def count_parameters_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def logarithmic(low: int, high: int) -> st.SearchStrategy[int]:
    """Returns a strategy of whole numbers, as many of each order of magnitude."""
    return st.floats(0, 1).map(lambda x: round(low * (high / low) ** x))


@settings(deadline=None, max_examples=60)
@given(image=st.sampled_from(IMAGES), classes=st.integers(5, 10), wanted=logarithmic(3_000, 40_000_000))
@example(image=(1, 8, 8), classes=10, wanted=3_000)
@example(image=(3, 32, 32), classes=5, wanted=40_000_000)
def test_every_number_of_parameters_is_met_within_2_percent(
    image: tuple[int, int, int], classes: int, wanted: int
) -> None:
    with torch.device("meta"):
        network = MatchedCNN(image, classes, parameters=wanted)
    assert abs(count_parameters_of(network) - wanted) <= 0.02 * wanted


@settings(deadline=None, max_examples=30)
@given(image=st.sampled_from(IMAGES), classes=st.integers(2, 20), wanted=logarithmic(3_000, 1_000_000))
def test_the_formula_counts_what_the_network_has(image: tuple[int, int, int], classes: int, wanted: int) -> None:
    with torch.device("meta"):
        network = MatchedCNN(image, classes, parameters=wanted)
    assert count_parameters_of(network) == count_parameters(
        image[0], classes, *solve_channels(image[0], classes, wanted)
    )


@settings(deadline=None, max_examples=60)
@given(channels=st.integers(1, 3), classes=st.integers(5, 10), wanted=logarithmic(30_000, 40_000_000))
def test_the_third_block_is_but_little_wider_than_the_second(channels: int, classes: int, wanted: int) -> None:
    narrow, last = solve_channels(channels, classes, wanted)
    assert 2 * narrow <= last <= 2.5 * narrow


@pytest.mark.parametrize("image", [*IMAGES, (1, 40, 40), (1, 9, 7), (1, 3, 3)])
def test_images_become_logits(image: tuple[int, int, int]) -> None:
    network = MatchedCNN(image, 7, **MatchedCNN.sizes(image)["paper"], parameters=5_000)
    assert network(torch.rand(4, *image)).shape == (4, 7)


@pytest.mark.parametrize(("side", "last_grid"), [(4, 4), (8, 4), (15, 7), (16, 4), (28, 7), (40, 10)])
@pytest.mark.parametrize("wanted", [5_000, 5_400, 28_000])
def test_pooling_halves_the_grid_twice_but_leaves_4_pixels_a_side(side: int, last_grid: int, wanted: int) -> None:
    with torch.device("meta"):
        network = MatchedCNN((1, side, side), 10, parameters=wanted)
        grid = network.features(torch.empty(2, 1, side, side)).shape[2:]
    assert grid == (last_grid, last_grid)


def test_forty_million_parameters_are_solved_without_making_them() -> None:
    start = time.perf_counter()
    solve_channels(1, 10, 40_000_000)
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(("wanted", "nearest"), [(-1, 73), (0, 73), (50, 73), (120, 133)])
def test_a_number_that_cannot_be_met_is_refused_with_the_nearest(wanted: int, nearest: int) -> None:
    with pytest.raises(UnmetParameters) as caught:
        MatchedCNN((1, 8, 8), 10, parameters=wanted)
    smallest = (9 + 2) + (9 * 2 + 4) + (9 * 2 + 2) + (10 + 10)
    assert (caught.value.value, caught.value.smallest, caught.value.nearest) == (wanted, smallest, nearest)


def test_it_learns() -> None:
    """It learns which quarter of the image is lit, from 64 noisy examples."""
    torch.manual_seed(0)
    labels = torch.arange(64) % 4
    images = torch.rand(64, 1, 8, 8) * 0.5
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 0.5
    network = MatchedCNN((1, 8, 8), 4, parameters=5_000)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(30):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(network(images), labels))
        optimizer.step()
    assert (network.eval()(images).argmax(1) == labels).all()
