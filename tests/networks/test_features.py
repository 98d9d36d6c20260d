"""Features are the class poses of capsules, and what the last layer with weights of a CNN reads."""

import torch
from torch import nn

from capsbench.networks.build import build_network
from capsbench.networks.features import compute_features, last_input

IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_the_features_of_capsules_are_the_poses_of_all_classes(make_cell):
    torch.manual_seed(0)
    network = build_network(make_cell(routing="em", iters=1)).eval()
    with torch.no_grad():
        assert torch.equal(compute_features(network, IMAGES), network.capsules(IMAGES).poses.flatten(1))


def test_those_of_a_cnn_are_the_inputs_of_its_last_linear_layer():
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU())
    assert torch.equal(compute_features(nn.Sequential(body, nn.Linear(5, 2), nn.Softmax(1)), IMAGES), body(IMAGES))


def test_a_feature_map_is_averaged_over_positions():
    body = nn.Conv2d(1, 4, 3)
    network = nn.Sequential(body, nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    torch.testing.assert_close(compute_features(network, IMAGES), body(IMAGES).mean(dim=(2, 3)))


def test_a_network_without_weights_has_no_features_and_none_keeps_a_hook():
    network = nn.Flatten()
    assert compute_features(network, IMAGES).shape == (3, 0)
    layer = nn.Linear(64, 2)
    with last_input(layer) as held:
        layer(IMAGES.flatten(1))
    layer(torch.zeros(1, 64))
    assert torch.equal(held[0], IMAGES.flatten(1))
