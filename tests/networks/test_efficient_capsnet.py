"""Efficient-CapsNet against the paper's table and the layers of its authors' code."""

import math

import pytest
import torch
from torch import nn

from capsbench.data.images import Batch
from capsbench.errors import ArgumentError
from capsbench.networks import ImageShape
from capsbench.networks.build import build_network
from capsbench.networks.efficient_capsnet import EfficientCapsNet
from capsbench.routing.self_attention import SelfAttentionRouting
from capsbench.training.step import TrainingStep

MNIST = ImageShape(1, 28, 28)
DIGITS = ImageShape(1, 8, 8)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_without_the_decoder_it_has_the_papers_161_thousand_parameters():
    with torch.device("meta"):
        network = EfficientCapsNet(MNIST, 10, SelfAttentionRouting, reconstruction=False)
    convolutions = [25 * 32 + 32, 9 * 32 * 64 + 64, 9 * 64 * 64 + 64, 9 * 64 * 128 + 128]
    batch_norms = [2 * channels for channels in (32, 64, 64, 128)]
    assert count(network.stem) == sum(convolutions) + sum(batch_norms) == 130_688
    assert count(network.primary) == 128 * 81 + 128 == 10_496
    assert count(network.classes) == 16 * 10 * 8 * 16 + 16 * 10 == 20_640
    assert count(network) == 161_824


def test_its_decoder_has_1_411_344_more():
    with torch.device("meta"):
        network = EfficientCapsNet(MNIST, 10, SelfAttentionRouting)
    assert count(network.decoder) == 160 * 512 + 512 + 512 * 1024 + 1024 + 1024 * 784 + 784 == 1_411_344
    assert count(network) == 1_573_168


def test_grids_shrink_as_in_the_paper_to_16_capsules_of_8_values():
    network = EfficientCapsNet(MNIST, 10, SelfAttentionRouting, reconstruction=False)
    features, sides = torch.rand(2, *MNIST), []
    for layer in network.stem:
        features = layer(features)
        if isinstance(layer, nn.Conv2d):
            sides.append(features.shape[-1])
    assert sides == [24, 22, 20, 9]
    primary = network.primary(features)
    assert primary.poses.shape == (2, 1, 1, 16, 1, 8)
    assert primary.activations.max() < 1
    assert network.classes(primary).poses.shape == (2, 10, 1, 16)


def test_a_primary_capsule_reads_its_own_channels_alone():
    network = EfficientCapsNet(MNIST, 10, SelfAttentionRouting, reconstruction=False)
    features = torch.rand(1, 128, 9, 9)
    changed = features.clone()
    changed[:, 8 * 3 : 8 * 4] += 1
    moved = (network.primary(features).poses != network.primary(changed).poses).any(dim=-1).flatten()
    assert moved.nonzero().flatten().tolist() == [3]


def test_weights_are_drawn_by_the_rules_of_the_authors_code():
    torch.manual_seed(0)
    network = EfficientCapsNet(MNIST, 10, SelfAttentionRouting)
    fourth = network.stem[9]
    assert fourth.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)
    assert network.primary.poses.weight.abs().max().item() == pytest.approx(math.sqrt(6 / (81 + 81 * 128)), rel=0.02)
    assert network.classes.weights.std().item() == pytest.approx(math.sqrt(2 / (10 * 16 * 8)), rel=0.02)
    first, _, second, _, last, _ = network.decoder.layers
    assert first.weight.std().item() == pytest.approx(math.sqrt(2 / 160), rel=0.02)
    assert second.weight.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.02)
    assert last.weight.std().item() == pytest.approx(math.sqrt(2 / (1024 + 784)), rel=0.02)
    for layer in (fourth, network.primary.poses, first, second, last):
        assert not layer.bias.any()


def test_transforms_can_be_given_another_width():
    torch.manual_seed(0)
    network = EfficientCapsNet(MNIST, 10, SelfAttentionRouting, transform_sigma=0.5)
    assert network.classes.weights.std().item() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
@pytest.mark.parametrize("image", [DIGITS, MNIST, ImageShape(3, 32, 24)], ids=str)
def test_every_size_suits_every_image(image, size):
    network = EfficientCapsNet(image, 5, SelfAttentionRouting, **EfficientCapsNet.sizes(image)[size])
    poses, scores = network.capsules(torch.rand(2, *image))
    assert scores.shape == (2, 5)
    assert scores.min() >= 0
    assert scores.max() < 1
    assert network.decoder(poses, torch.tensor([0, 4])).shape == (2, *image)


@pytest.mark.parametrize("routing", ["self-attention", "dynamic", "em", "uniform", "variational-bayes"])
def test_a_training_step_gives_every_parameter_a_finite_gradient_with_any_routing(make_cell, routing):
    cell = make_cell(network="efficient-capsnet", routing=routing, iters=2)
    torch.manual_seed(0)
    built = build_network(cell)
    TrainingStep(cell, built)(Batch(torch.rand(8, 1, 8, 8), torch.arange(8)), 0.5)
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if "bias" not in name:
            assert parameter.grad.any(), name


def test_at_paper_size_it_is_trained_as_by_its_authors(make_cell):
    cell = make_cell(network="efficient-capsnet", routing=None, dataset="mnist", size="paper")
    assert (cell.routing, cell.loss, cell.optimizer, cell.batch_size) == ("self-attention", "margin", "adam", 16)
    assert (cell.learning_rate, cell.schedule, cell.decay) == (0.0005, "exponential", 0.97)
    assert cell.reconstruction
    assert cell.reconstruction_weight * 28 * 28 == pytest.approx(0.392)


def test_an_image_too_small_for_its_kernels_is_refused_in_one_line():
    with pytest.raises(ArgumentError) as caught:
        EfficientCapsNet(DIGITS, 10, SelfAttentionRouting)
    assert (caught.value.argument, caught.value.value) == ("side", 2)
    assert "3x3" in caught.value.expected
