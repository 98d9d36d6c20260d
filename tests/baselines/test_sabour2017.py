import pytest
import torch

from capsbench_baselines import SabourCNN


def count_parameters_of(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_papers_network_has_35_million_parameters() -> None:
    with torch.device("meta"):
        network = SabourCNN((1, 28, 28), 10)
    convolutions = (25 * 1 * 256 + 256) + (25 * 256 * 256 + 256) + (25 * 256 * 128 + 128)
    connected = (28 * 28 * 128 * 328 + 328) + (328 * 192 + 192) + (192 * 10 + 10)
    assert count_parameters_of(network) == convolutions + connected == 35_445_522


@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
@pytest.mark.parametrize("image", [(1, 8, 8), (2, 9, 7)])
def test_every_size_maps_images_to_logits(image: tuple[int, int, int], size: str) -> None:
    network = SabourCNN(image, 5, **SabourCNN.sizes(image)[size])
    assert network(torch.rand(3, *image)).shape == (3, 5)


def test_dropout_acts_while_training_only() -> None:
    network = SabourCNN((1, 8, 8), 10, **SabourCNN.sizes((1, 8, 8))["tiny"])
    images = torch.rand(8, 1, 8, 8)
    assert not network(images).equal(network(images))
    network.eval()
    assert network(images).equal(network(images))
