"""CapsNet against section 4 of Sabour 2017."""

import pytest
import torch

from capsbench.errors import ArgumentError
from capsbench.networks import CapsNet, ImageShape
from capsbench.networks.layers import Decoder
from capsbench.routing import DynamicRouting, UniformRouting

MNIST = ImageShape(1, 28, 28)
DIGITS = ImageShape(1, 8, 8)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_paper_size_has_the_papers_parameters():
    with torch.device("meta"):
        network = CapsNet(MNIST, 10, DynamicRouting)
    assert count(network.stem) == 9 * 9 * 256 + 256 == 20_992
    assert count(network.primary) == 9 * 9 * 256 * 32 * 8 + 32 * 8 == 5_308_672
    assert count(network.classes) == 6 * 6 * 32 * 10 * 8 * 16 == 1_474_560
    decoder = 160 * 512 + 512 + 512 * 1024 + 1024 + 1024 * 784 + 784
    assert count(network) == 6_804_224 + decoder == 8_215_568


def test_without_reconstruction_there_is_no_decoder():
    with torch.device("meta"):
        network = CapsNet(MNIST, 10, DynamicRouting, reconstruction=False)
    assert network.decoder is None
    assert count(network) == 6_804_224


def test_with_reconstruction_there_is_a_decoder():
    network = CapsNet(DIGITS, 10, DynamicRouting, **CapsNet.sizes(DIGITS)["tiny"])
    assert isinstance(network.decoder, Decoder)
    poses = network.capsules(torch.rand(2, *DIGITS)).poses
    assert poses.shape == (2, 10, 1, 16)
    assert network.decoder(poses, torch.tensor([3, 4])).shape == (2, *DIGITS)


def test_uniform_routing_is_dynamic_routing_of_one_iteration():
    def once(children, parents):
        return DynamicRouting(children, parents, iterations=1)

    once.separate_activations = False
    scores = []
    for routing in (once, UniformRouting):
        torch.manual_seed(0)
        network = CapsNet(DIGITS, 10, routing, **CapsNet.sizes(DIGITS)["tiny"])
        scores.append(network(torch.rand(3, *DIGITS)))
    assert torch.equal(*scores)


def test_a_position_has_transforms_of_its_own():
    network = CapsNet(DIGITS, 10, DynamicRouting, **CapsNet.sizes(DIGITS)["tiny"])
    assert network.classes.weights.shape == (2 * 2 * 4, 10, 8, 16)


def test_images_need_not_be_square():
    image = ImageShape(3, 10, 8)
    network = CapsNet(image, 4, DynamicRouting, stem=8, types=2, kernel=3)
    poses = network.capsules(torch.rand(2, *image)).poses
    assert network.decoder(poses, torch.tensor([0, 1])).shape == (2, *image)


def test_an_image_too_small_for_its_kernels_is_refused_in_one_line():
    with pytest.raises(ArgumentError) as caught:
        CapsNet(DIGITS, 10, DynamicRouting)
    assert (caught.value.argument, caught.value.value) == ("side", 8)
    assert "9x9" in caught.value.expected


def test_shared_transforms_are_as_many_as_there_are_types():
    """Gu and Tresp 2020: 32 x 10 matrices rather than 1152 x 10."""
    with torch.device("meta"):
        network = CapsNet(MNIST, 10, DynamicRouting, shared_transforms=True)
    assert count(network.classes) == 32 * 10 * 8 * 16


def test_the_options_of_the_primary_capsules_reach_them():
    torch.manual_seed(0)
    network = CapsNet(
        DIGITS, 10, DynamicRouting, squash="efficient", primary_scale=0.5, **CapsNet.sizes(DIGITS)["tiny"]
    )
    features = network.stem(torch.rand(2, *DIGITS))
    vectors = 0.5 * network.primary.poses(features).movedim(1, -1).unflatten(-1, (4, 8))
    length = vectors.norm(dim=-1, keepdim=True)
    poses, activations = network.primary(features)
    torch.testing.assert_close(poses.squeeze(-2), (1 - torch.exp(-length)) * vectors / length)
    torch.testing.assert_close(activations, 1 - torch.exp(-length.squeeze(-1)))
