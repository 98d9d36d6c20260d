import pytest
import torch

from capsbench_baselines import AllConvolutionalCNN
from capsbench_baselines.errors import ArgumentError

SMALL_IMAGES = [(1, 8, 8), (2, 9, 7), (1, 4, 4), (1, 28, 28), (1, 40, 40), (2, 32, 32), (3, 32, 32)]


def count_parameters_of(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_papers_network_has_1_4_million_parameters_on_cifar10() -> None:
    with torch.device("meta"):
        network = AllConvolutionalCNN((3, 32, 32), 10)
    first = (9 * 3 * 96 + 96) + 2 * (9 * 96 * 96 + 96)
    second = (9 * 96 * 192 + 192) + 3 * (9 * 192 * 192 + 192)
    last = (192 * 192 + 192) + (192 * 10 + 10)
    assert count_parameters_of(network) == first + second + last == 1_369_738


def test_there_is_nothing_but_convolutions_and_dropout_in_it() -> None:
    network = AllConvolutionalCNN((1, 8, 8), 10, width1=2, width2=3)
    kinds = {type(module).__name__ for module in network.modules() if not list(module.children())}
    assert kinds == {"Conv2d", "ReLU", "Dropout", "AdaptiveAvgPool2d", "Flatten"}
    assert [module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)] == [0.2, 0.5, 0.5]


@pytest.mark.parametrize(("side", "grid"), [(32, 6), (28, 5), (40, 8), (9, 1), (8, 2), (4, 1)])
def test_the_last_grid_is_the_papers_and_never_empty(side: int, grid: int) -> None:
    network = AllConvolutionalCNN((1, side, side), 10, width1=2, width2=3)
    assert network.layers[:-2](torch.rand(2, 1, side, side)).shape == (2, 10, grid, grid)


@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
@pytest.mark.parametrize("image", SMALL_IMAGES)
def test_every_size_maps_images_to_logits(image: tuple[int, int, int], size: str) -> None:
    network = AllConvolutionalCNN(image, 5, **AllConvolutionalCNN.sizes(image)[size])
    assert network(torch.rand(2, *image)).shape == (2, 5)


def test_the_logits_are_means_of_rectified_maps() -> None:
    network = AllConvolutionalCNN((1, 12, 12), 7, width1=4, width2=8).eval()
    maps = network.layers[:-3](torch.rand(3, 1, 12, 12))
    last = network.layers[-3][0]
    by_hand = torch.einsum("bihw,oi->bohw", maps, last.weight[:, :, 0, 0]) + last.bias[:, None, None]
    torch.testing.assert_close(network.layers[-3:](maps), by_hand.clamp_min(0).mean((2, 3)))


def test_a_batch_norm_follows_every_convolution_but_the_last() -> None:
    network = AllConvolutionalCNN((1, 8, 8), 10, norm="batch", width1=2, width2=3)
    steps = [
        [type(module).__name__ for module in step] for step in network.layers if isinstance(step, torch.nn.Sequential)
    ]
    assert steps == 8 * [["Conv2d", "BatchNorm2d", "ReLU"]] + [["Conv2d", "ReLU"]]


def test_the_signal_keeps_its_size_over_nine_layers() -> None:
    """Weights from N(0, 2 / fan-in) keep the mean square of the features (He 2015)."""
    torch.manual_seed(0)
    network = AllConvolutionalCNN((3, 32, 32), 10).eval()
    images = torch.randn(2, 3, 32, 32)
    before = network.layers[:-3](images)
    assert 0.2 < before.square().mean() < 5


def test_dropout_acts_while_training_only() -> None:
    network = AllConvolutionalCNN((1, 8, 8), 10)
    images = torch.rand(8, 1, 8, 8)
    assert not network(images).equal(network(images))
    network.eval()
    assert network(images).equal(network(images))


def test_a_norm_that_there_is_not() -> None:
    with pytest.raises(ArgumentError) as caught:
        AllConvolutionalCNN((1, 8, 8), 10, norm="layer")
    assert (caught.value.argument, caught.value.value) == ("norm", "layer")
