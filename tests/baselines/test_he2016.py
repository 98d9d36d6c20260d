import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from capsbench_baselines import ResNet
from capsbench_baselines.errors import ArgumentError
from capsbench_baselines.he2016 import Block


def count_parameters_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("blocks", "millions", "exactly"),
    [(3, 0.27, 269_722), (5, 0.46, 464_154), (9, 0.85, 853_018), (18, 1.7, 1_727_962)],
)
def test_the_papers_networks_have_the_parameters_of_its_table_6(blocks: int, millions: float, exactly: int) -> None:
    with torch.device("meta"):
        network = ResNet((3, 32, 32), 10, blocks=blocks)
    stem = 9 * 3 * 16 + 2 * 16
    first = 2 * blocks * (9 * 16 * 16 + 2 * 16)
    second = (9 * 16 * 32 + 2 * 32) + (2 * blocks - 1) * (9 * 32 * 32 + 2 * 32)
    third = (9 * 32 * 64 + 2 * 64) + (2 * blocks - 1) * (9 * 64 * 64 + 2 * 64)
    assert count_parameters_of(network) == stem + first + second + third + (64 * 10 + 10) == exactly
    assert exactly / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize("blocks", [1, 3])
def test_it_has_6_n_plus_2_layers(blocks: int) -> None:
    network = ResNet((1, 8, 8), 10, blocks=blocks)
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in network.modules()) == 6 * blocks + 2


@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
@pytest.mark.parametrize("image", [(1, 8, 8), (2, 9, 7), (1, 1, 5), (1, 28, 28), (1, 40, 40), (2, 32, 32), (3, 32, 32)])
def test_every_size_maps_images_to_logits(image: tuple[int, int, int], size: str) -> None:
    network = ResNet(image, 5, **ResNet.sizes(image)[size])
    assert network(torch.rand(2, *image)).shape == (2, 5)


@pytest.mark.parametrize(("side", "grids"), [(32, (32, 16, 8)), (28, (28, 14, 7)), (9, (9, 5, 3)), (8, (8, 4, 2))])
def test_the_second_and_the_third_stage_halve_the_grid(side: int, grids: tuple[int, int, int]) -> None:
    network, features = ResNet((1, side, side), 10), torch.rand(2, 1, side, side)
    shapes = []
    for layer in network.layers[:6]:
        features = layer(features)
        shapes.append(tuple(features.shape[1:]))
    assert shapes[3:] == [(16 * 2**stage, grid, grid) for stage, grid in enumerate(grids)]


def test_a_block_is_torchvisions_block() -> None:
    """The blocks have the same weights. Torchvision has no shortcut of option A, so neither changes its channels."""
    ours, theirs = Block(6, 6, stride=1).double(), BasicBlock(6, 6).double()
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        nn.init.normal_(own)
        other.data.copy_(own.data)
    features = torch.randn(4, 6, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(ours(features), theirs(features))


def test_the_shortcut_takes_every_second_pixel_and_adds_channels_of_0() -> None:
    block, features = Block(3, 5, stride=2).eval(), torch.randn(2, 3, 7, 8)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)  # so that the shortcut alone is left
    expected = torch.zeros(2, 5, 4, 4)
    for row in range(4):
        for column in range(4):
            expected[:, :3, row, column] = features[:, :, 2 * row, 2 * column]
    assert block(features).equal(F.relu(expected))


def test_fewer_blocks_than_one() -> None:
    with pytest.raises(ArgumentError) as caught:
        ResNet((1, 8, 8), 10, blocks=0)
    assert (caught.value.argument, caught.value.value) == ("blocks", 0)
