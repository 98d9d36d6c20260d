"""Networks on images of 64 to 224 pixels: little larger and little slower than on 32 pixels, and with many classes."""

from __future__ import annotations

import pytest
import torch

from capsbench import registry
from capsbench.data.images import ImageShape
from capsbench.errors import ArgumentError
from capsbench.networks.build import count_parameters
from capsbench.networks.capsnet import MOST_CLASSES, CapsNet
from capsbench.networks.layers import Decoder
from capsbench.planning.matrix import cells_of
from capsbench.routing import DynamicRouting
from capsbench_baselines.matched import MatchedCNN
from capsbench_kernels import count_arithmetic

PAIRS = {
    "capsnet": "dynamic",
    "matrix-capsules": "em",
    "efficient-capsnet": "self-attention",
    "capsnet-hahn2019": "self-routing",
    "capsnet-tsai2020": "inverted-attention",
}


def build_tiny(name: str, side: int):
    """A ``tiny`` network with its paper's routing, on colour images of ten classes."""
    network, image = registry.get("network", name), ImageShape(3, side, side)
    return network(image, 10, registry.get("routing", PAIRS[name]), **network.sizes(image)["tiny"]).eval()


def count_flops(network, side: int) -> float:
    with torch.no_grad(), count_arithmetic() as counted:
        network(torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)))
    return counted.algorithm


@pytest.mark.parametrize("name", PAIRS)
def test_a_tiny_network_stays_tiny_on_large_images(name):
    small = build_tiny(name, 32)
    parameters, flops = count_parameters(small), count_flops(small, 32)
    for side in (64, 96, 128, 224):
        large = build_tiny(name, side)
        assert count_parameters(large) <= 2 * parameters
        assert count_flops(large, side) <= 4 * flops


def test_the_matched_cnn_keeps_up_with_large_images():
    on_small, on_large = (MatchedCNN((3, side, side), 10, parameters=400_000).eval() for side in (32, 224))
    assert count_parameters(on_large) == pytest.approx(400_000, rel=0.02)
    assert count_flops(on_large, 224) <= 1.5 * count_flops(on_small, 32)


def test_a_large_image_is_reconstructed_at_its_size():
    network = build_tiny("capsnet", 64).train()
    poses = network.capsules(torch.rand(2, 3, 64, 64)).poses
    images = network.decoder(poses, torch.tensor([1, 2]))
    assert images.shape == (2, 3, 64, 64)
    assert 0 <= images.min() <= images.max() <= 1
    images.sum().backward()
    assert all(parameter.grad is not None for parameter in network.decoder.parameters())


def test_a_decoder_of_small_images_makes_each_pixel():
    decoder = Decoder(20, (1, 8, 8), (4, 6))
    assert decoder.layers[4].out_features == 64
    assert Decoder(20, (1, 64, 64), (4, 6), reductions=2).layers[4].out_features == 256


def test_many_classes_take_shared_transforms():
    image = ImageShape(3, 32, 32)
    with pytest.raises(ArgumentError) as caught:
        CapsNet(image, MOST_CLASSES + 1, DynamicRouting, stem=4, types=1)
    assert caught.value.argument == "shared_transforms"
    network = CapsNet(image, 1000, DynamicRouting, stem=4, types=1, reconstruction=False, shared_transforms=True)
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 1000)


def test_cells_of_small_images_have_no_reductions_so_that_their_identities_stay():
    (cell,) = cells_of({"routing": "dynamic", "dataset": "digits", "seeds": 0, "baseline": "none"})
    assert "network.reductions" not in cell.options
    (asked,) = cells_of(
        {"routing": "dynamic", "dataset": "mnist", "kernel": 3, "reductions": 1, "seeds": 0, "baseline": "none"}
    )
    assert asked.options["network.reductions"] == 1
