import pytest
import torch

from capsbench_baselines import AveragePoolingCNN
from capsbench_baselines.errors import ArgumentError


def count_parameters_of(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_papers_network_has_5_3_million_parameters_on_affnist() -> None:
    with torch.device("meta"):
        network = AveragePoolingCNN((1, 40, 40), 10)
    convolutions = (81 * 1 * 256 + 256) + (81 * 256 * 256 + 256)
    assert count_parameters_of(network) == convolutions + (256 * 10 + 10) == 5_332_234


@pytest.mark.parametrize("size", ["tiny", "small"])
@pytest.mark.parametrize("image", [(1, 8, 8), (2, 9, 7), (1, 28, 28), (1, 40, 40), (2, 32, 32), (3, 32, 32)])
def test_the_small_sizes_map_images_to_logits(image: tuple[int, int, int], size: str) -> None:
    network = AveragePoolingCNN(image, 5, **AveragePoolingCNN.sizes(image)[size])
    assert network(torch.rand(3, *image)).shape == (3, 5)


@pytest.mark.parametrize(("side", "grid"), [(28, 6), (40, 12), (17, 1)])
def test_the_grids_are_those_of_capsnets_primary_capsules(side: int, grid: int) -> None:
    network = AveragePoolingCNN((1, side, side), 10, width1=2, width2=3)
    features = network.layers[:4](torch.rand(2, 1, side, side))
    assert features.shape == (2, 3, grid, grid)


def test_the_logits_are_those_of_the_mean_features() -> None:
    network = AveragePoolingCNN((1, 20, 20), 4, width1=2, width2=3).double()
    images = torch.rand(5, 1, 20, 20, dtype=torch.float64)
    first, second, linear = network.layers[0], network.layers[2], network.layers[6]
    features = torch.nn.functional.conv2d(images, first.weight, first.bias).clamp_min(0)
    features = torch.nn.functional.conv2d(features, second.weight, second.bias, stride=2).clamp_min(0)
    means = features.flatten(2).sum(2) / features[0, 0].numel()
    torch.testing.assert_close(network(images), means @ linear.weight.T + linear.bias)


@pytest.mark.parametrize("kernel", [9, 0])
def test_kernels_that_do_not_fit_into_the_image(kernel: int) -> None:
    with pytest.raises(ArgumentError) as caught:
        AveragePoolingCNN((1, 16, 20), 10, kernel=kernel)
    assert (caught.value.argument, caught.value.value) == ("kernel", kernel)
    assert "1 to 8" in caught.value.expected
