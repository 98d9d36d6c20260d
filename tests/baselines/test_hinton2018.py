import pytest
import torch

from capsbench_baselines import HintonCNN
from capsbench_baselines.errors import ArgumentError


def count_parameters_of(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_papers_network_has_4_million_parameters_on_smallnorb() -> None:
    with torch.device("meta"):
        network = HintonCNN((2, 32, 32), 5)
    convolutions = (25 * 2 * 32 + 32) + (25 * 32 * 64 + 64)
    connected = (8 * 8 * 64 * 1024 + 1024) + (1024 * 5 + 5)
    assert count_parameters_of(network) == convolutions + connected == 4_253_349


@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
@pytest.mark.parametrize("image", [(1, 8, 8), (2, 9, 7), (1, 4, 4)])
def test_every_size_maps_images_to_logits(image: tuple[int, int, int], size: str) -> None:
    network = HintonCNN(image, 5, **HintonCNN.sizes(image)[size])
    assert network(torch.rand(3, *image)).shape == (3, 5)


def test_an_image_too_small_to_pool_twice() -> None:
    with pytest.raises(ArgumentError) as caught:
        HintonCNN((1, 3, 8), 10)
    assert (caught.value.argument, caught.value.value) == ("image", (3, 8))


def test_dropout_acts_while_training_only() -> None:
    network = HintonCNN((1, 8, 8), 10)
    images = torch.rand(8, 1, 8, 8)
    assert not network(images).equal(network(images))
    network.eval()
    assert network(images).equal(network(images))
