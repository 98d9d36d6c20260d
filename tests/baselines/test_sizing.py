import math
import random
from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from capsbench_baselines import AllConvolutionalCNN, AveragePoolingCNN, HintonCNN, ResNet, SabourCNN
from capsbench_baselines.errors import ArgumentError, UnmetParameters
from capsbench_baselines.sizing import TARGETS, TOLERANCE, build_sized, count_of, shared_targets, solve_widths

IMAGES = [(1, 8, 8), (1, 28, 28), (1, 40, 40), (2, 32, 32), (3, 32, 32)]
NETWORKS = [SabourCNN, HintonCNN, AveragePoolingCNN, AllConvolutionalCNN, ResNet]
Make = Callable[..., nn.Module]


def count_parameters_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def build_perceptron(width1: int, width2: int) -> nn.Module:
    return nn.Sequential(nn.Linear(12, width1), nn.Linear(width1, width2), nn.Linear(width2, 5))


def count_by_hand(width1: float, width2: float) -> float:
    """Returns the parameters of the perceptron."""
    return 13 * width1 + (width1 + 1) * width2 + 5 * (width2 + 1)


@pytest.mark.parametrize("wanted", [10_000, 70_000, 310_000, 1_000_000])
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("make", NETWORKS)
def test_every_network_meets_a_number_of_parameters_within_2_percent(
    make: Make, image: tuple[int, int, int], wanted: int
) -> None:
    with torch.device("meta"):
        network = make(image, 10, **make.sizes(image)["tiny"], parameters=wanted)  # type: ignore[attr-defined]
        logits = network(torch.empty(2, *image))
    assert abs(count_parameters_of(network) - wanted) <= 0.02 * wanted
    assert logits.shape == (2, 10)


@settings(deadline=None, max_examples=100)
@given(wanted=st.floats(0, 1).map(lambda x: round(300 * 3_000**x)), ratio=st.sampled_from([(1, 1), (3, 4), (40, 10)]))
def test_a_wide_range_of_numbers_is_met(wanted: int, ratio: tuple[int, int]) -> None:
    widths = solve_widths(build_perceptron, ratio, wanted)
    assert abs(count_by_hand(*widths) - wanted) <= 0.02 * wanted


@pytest.mark.parametrize("wanted", [300, 1_000, 5_000])
@pytest.mark.parametrize("ratio", [(3, 4), (40, 10)])
def test_of_all_widths_within_2_percent_the_best_proportioned_ones_are_taken(
    wanted: int, ratio: tuple[int, int]
) -> None:
    low, high = 0.0, 1e6
    while high - low > 1e-9:  # the factor that meets the number exactly
        factor = (low + high) / 2
        low, high = (factor, high) if count_by_hand(factor * ratio[0], factor * ratio[1]) < wanted else (low, factor)

    def distance(widths: tuple[int, ...]) -> float:
        return sum(math.log(width / (low * share)) ** 2 for width, share in zip(widths, ratio, strict=True))

    fitting = [
        widths for widths in product(range(1, 200), repeat=2) if abs(count_by_hand(*widths) - wanted) <= 0.02 * wanted
    ]
    fitting = [widths for widths in fitting if (widths[0] - widths[1]) * (ratio[0] - ratio[1]) >= 0]
    assert distance(solve_widths(build_perceptron, ratio, wanted)) == pytest.approx(
        min(map(distance, fitting)), abs=1e-3
    )


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (SabourCNN, ("width1", "width2", "width3", "hidden1", "hidden2")),
        (HintonCNN, ("width1", "width2", "hidden")),
        (AllConvolutionalCNN, ("width1", "width2")),
    ],
)
def test_the_polynomial_counts_what_networks_have(make: Make, names: tuple[str, ...]) -> None:
    def build(*widths: int) -> nn.Module:
        return make((2, 9, 7), 10, **dict(zip(names, widths, strict=True)))

    count, draw = count_of(build, len(names)), random.Random(0)
    for _ in range(10):
        widths = [draw.randint(1, 300) for _ in names]
        with torch.device("meta"):
            assert count(*widths) == count_parameters_of(build(*widths))


def test_large_networks_keep_their_proportions() -> None:
    with torch.device("meta"):
        network = SabourCNN((1, 28, 28), 10, parameters=4_000_000)
    widths = [len(layer.bias) for layer in network.layers if isinstance(layer, nn.Conv2d | nn.Linear)]
    shares = [width / share for width, share in zip(widths, (256, 256, 128, 328, 192), strict=False)]
    assert max(shares) < 1.05 * min(shares)


@pytest.mark.parametrize("wanted", [1_500, 2_000, 3_300, 5_000, 20_000])
def test_no_stage_of_a_small_resnet_is_narrower_than_the_one_before(wanted: int) -> None:
    with torch.device("meta"):
        network = ResNet((1, 8, 8), 10, parameters=wanted)
    widths = [len(layer.weight) for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert widths == sorted(widths)
    assert len(set(widths)) <= 3


def test_without_a_number_the_widths_are_as_given() -> None:
    assert [len(layer.weight) for layer in build_sized(build_perceptron, (7, 3), 0)] == [7, 3, 5]


def test_the_weights_are_those_of_a_network_made_with_these_widths() -> None:
    """A count draws nothing from torch's random state."""
    torch.manual_seed(0)
    network = HintonCNN((1, 8, 8), 10, parameters=20_000)
    width1, width2, hidden = (len(network.layers[i].weight) for i in (0, 3, 7))
    torch.manual_seed(0)
    other = HintonCNN((1, 8, 8), 10, width1=width1, width2=width2, hidden=hidden)
    for name, weight in other.state_dict().items():
        assert network.state_dict()[name].equal(weight), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", NETWORKS)
def test_gradients_reach_every_weight(make: Make, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = make((1, 8, 8), 10, **make.sizes((1, 8, 8))["tiny"], parameters=10_000).to(dtype)  # type: ignore[attr-defined]
    logits = network(torch.rand(32, 1, 8, 8, dtype=dtype))
    torch.autograd.backward(nn.functional.cross_entropy(logits, torch.arange(32) % 10))
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.ndim == 1 or parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(("wanted", "nearest"), [(-1, 14), (3, 14), (20, 23), (53, 50)])
def test_a_number_that_cannot_be_met_is_refused_with_the_nearest(wanted: int, nearest: int) -> None:
    def build_chain(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(3, width), nn.Linear(width, 5))

    with pytest.raises(UnmetParameters) as caught:
        build_sized(build_chain, (8,), wanted)
    assert (caught.value.value, caught.value.smallest, caught.value.nearest) == (wanted, 3 + 1 + 5 + 5, nearest)


def test_widths_below_1() -> None:
    with pytest.raises(ArgumentError) as caught:
        build_sized(build_perceptron, (4, 0), 0)
    assert (caught.value.argument, caught.value.value) == ("widths", (4, 0))


@given(parameters=st.integers(500, 10**8))
@settings(max_examples=300, deadline=None)
def test_shared_targets_are_near_and_few(parameters: int) -> None:
    targets = shared_targets(parameters)
    assert 1 <= len(targets) <= 3
    assert targets == sorted(targets, key=lambda target: abs(math.log(target / parameters)))
    for target in targets:
        assert abs(target - parameters) <= TOLERANCE * parameters


def test_almost_equal_numbers_share_their_target_and_others_do_not() -> None:
    assert shared_targets(10_820)[0] == shared_targets(10_864)[0]
    assert shared_targets(56_928)[0] == shared_targets(57_088)[0] != shared_targets(59_524)[0]
    assert len({shared_targets(number)[0] for number in range(10_000, 100_000, 10)}) == TARGETS + 1
