import torch
from torch import nn

from capsbench.networks.resnet import PaddedShortcut, build_projection_shortcut, build_residual_stage


def test_a_padded_shortcut_takes_every_other_pixel_and_adds_empty_channels_on_both_sides():
    features = torch.rand(2, 3, 5, 4)
    taken = PaddedShortcut(3, 6, 2)(features)
    assert taken.shape == (2, 6, 3, 2)
    assert torch.equal(taken[:, 1:4], features[:, :, [0, 2, 4]][:, :, :, [0, 2]])
    assert not taken[:, [0, 4, 5]].any()


def test_a_stage_is_the_convolutions_and_the_shortcut_of_each_block():
    torch.manual_seed(0)
    stage = build_residual_stage(4, 8, 2, 2, build_projection_shortcut).eval()
    first, second = stage

    def residual(block, features):
        return block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(features)))))

    features = torch.rand(2, 4, 7, 7)
    expected = torch.relu(residual(first, features) + first.downsample(features))
    expected = torch.relu(residual(second, expected) + expected)
    torch.testing.assert_close(stage(features), expected)
    assert expected.shape == (2, 8, 4, 4)
    assert [module.kernel_size for module in stage.modules() if isinstance(module, nn.Conv2d)] == [
        (3, 3),
        (3, 3),
        (1, 1),
        (3, 3),
        (3, 3),
    ]


def test_nothing_changes_the_input_of_a_block_that_keeps_its_shape():
    assert all(block.downsample is None for block in build_residual_stage(4, 4, 3, 1, PaddedShortcut))
