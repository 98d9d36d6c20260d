"""Matrix capsules against section 4 of Hinton 2018."""

import pytest
import torch

from capsbench.errors import ArgumentError
from capsbench.networks import ImageShape, MatrixCapsules
from capsbench.routing import DynamicRouting, EMRouting, UniformRouting

MNIST = ImageShape(1, 28, 28)
DIGITS = ImageShape(1, 8, 8)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def parameters(a, b, c, d, classes=10, pose=16):
    """Convolutions with a bias; a transform a (child type, parent) pair and window position; two betas a parent."""
    stem = 25 * a + a
    primary = a * b * (pose + 1) + b * (pose + 1)
    convolutional = 9 * b * c * pose + 2 * c + 9 * c * d * pose + 2 * d
    return stem + primary + convolutional + d * classes * pose + 2 * classes


def test_the_paper_size_has_about_310_thousand_parameters():
    with torch.device("meta"):
        assert count(MatrixCapsules(MNIST, 10, EMRouting)) == parameters(32, 32, 32, 32) == 318_964


def test_the_papers_small_network_has_about_68_thousand_parameters():
    with torch.device("meta"):
        network = MatrixCapsules(MNIST, 10, EMRouting, stem=64, types1=8, types2=16, types3=16)
    assert count(network) == parameters(64, 8, 16, 16) == 68_444


def test_the_small_size_is_the_papers_small_network_with_a_batch_norm():
    with torch.device("meta"):
        network = MatrixCapsules(MNIST, 10, EMRouting, **MatrixCapsules.sizes(MNIST)["small"])
    assert count(network) == 68_444 + 2 * 64


def test_grids_shrink_as_in_the_paper():
    network = MatrixCapsules(MNIST, 10, EMRouting, types1=2, types2=2, types3=2)
    features = network.stem(torch.rand(1, *MNIST))
    primary = network.primary(features)
    first = network.convolutional[0](primary)
    second = network.convolutional[1](first)
    assert [list(grid.activations.shape[1:3]) for grid in (primary, first, second)] == [[12, 12], [5, 5], [3, 3]]
    assert network.classes(second).poses.shape == (1, 10, 4, 4)


def test_class_transforms_are_shared_over_positions():
    with torch.device("meta"):
        assert MatrixCapsules(MNIST, 10, EMRouting).classes.weights.shape == (32, 10, 4, 4)


@pytest.mark.parametrize("routing", [EMRouting, DynamicRouting, UniformRouting])
def test_coordinate_addition_has_an_effect_with_every_routing(routing):
    scores = []
    for coordinate_addition in (True, False):
        torch.manual_seed(0)
        network = MatrixCapsules(
            DIGITS,
            10,
            routing,
            coordinate_addition=coordinate_addition,
            **MatrixCapsules.sizes(DIGITS)["tiny"],
        )
        scores.append(network(torch.rand(3, *DIGITS)))
    assert not torch.equal(*scores)


def test_transforms_of_mean_votes_are_wider_by_the_root_of_their_number():
    """Where poses below are means of 72 votes and a vote is a sum of 4 products, sigma = sqrt(72 / 4) keeps its variance."""

    def sigmas(transform_init):
        torch.manual_seed(0)
        network = MatrixCapsules(MNIST, 10, EMRouting, types1=8, types2=8, types3=8, transform_init=transform_init)
        return [layer.weights.std().item() for layer in (*network.convolutional, network.classes)]

    assert sigmas("normal") == pytest.approx([1.0, 1.0, 1.0], rel=0.05)
    assert sigmas("preserving") == pytest.approx([1.0, 18**0.5, 18**0.5], rel=0.05)


def test_glorots_rule_counts_the_values_of_a_window_below_and_above():
    """As Ribeiro 2020: 9 positions of 8 and of 16 types, 9 of 16 and of 16, one of 16 and of the classes; 16 values each."""
    torch.manual_seed(0)
    types = dict(types1=8, types2=16, types3=16)
    network = MatrixCapsules(MNIST, 10, EMRouting, **types, transform_init="glorot", transform_sigma=5.0)
    widths = [layer.weights.std().item() for layer in (*network.convolutional, network.classes)]
    fans = [9 * (8 + 16) * 16, 9 * (16 + 16) * 16, (16 + 10) * 16]
    assert widths == pytest.approx([5 * (2 / fan) ** 0.5 for fan in fans], rel=0.05)


@pytest.mark.parametrize(
    ("option", "argument", "value"),
    [
        (dict(stem_norm="layer"), "stem_norm", "layer"),
        (dict(transform_init="xavier"), "transform_init", "xavier"),
        (dict(pose_form="tensor"), "pose_form", "tensor"),
        (dict(rows=1), "coordinate_addition", 1),
    ],
)
def test_wrong_options_are_refused_in_one_line(option, argument, value):
    with torch.device("meta"), pytest.raises(ArgumentError) as caught:
        MatrixCapsules(MNIST, 10, EMRouting, **option)
    assert (caught.value.argument, caught.value.value) == (argument, value)
    assert "\n" not in str(caught.value)


def test_an_image_too_small_for_its_kernels_is_refused_in_one_line():
    with pytest.raises(ArgumentError) as caught:
        MatrixCapsules(DIGITS, 10, EMRouting)
    assert (caught.value.argument, caught.value.value) == ("side", 2)
    assert "3x3" in caught.value.expected


def test_vector_poses_have_as_many_values_and_transforms_of_all_of_them():
    with torch.device("meta"):
        network = MatrixCapsules(MNIST, 10, EMRouting, pose_form="vector")
    assert network.convolutional[0].weights.shape == (9 * 32, 32, 16, 16)
    assert network.capsules(torch.rand(2, *MNIST, device="meta")).poses.shape == (2, 10, 1, 16)


def test_the_windows_of_the_capsules_can_be_larger():
    with torch.device("meta"):
        network = MatrixCapsules(MNIST, 10, EMRouting, capsule_kernel=4)
    assert network.convolutional[0].weights.shape[0] == 16 * 32
    assert network.capsules(torch.rand(2, *MNIST, device="meta")).activations.shape == (2, 10)
