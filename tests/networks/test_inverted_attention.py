"""The network of Tsai 2020 against its authors' configuration, and its concurrent routing against Procedure 2."""

import pytest
import torch
from torch.nn import functional as F

from capsbench.data.images import Batch
from capsbench.errors import ArgumentError
from capsbench.networks import ImageShape
from capsbench.networks.build import build_network
from capsbench.networks.inverted_attention import InvertedAttentionCapsNet
from capsbench.routing import DynamicRouting
from capsbench.routing.inverted_attention import InvertedAttentionRouting
from capsbench.training.losses import CrossEntropy
from capsbench.training.step import TrainingStep

CIFAR10 = ImageShape(3, 32, 32)
DIGITS = ImageShape(1, 8, 8)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def capsule_layers(types=32, values=16, classes=10, positions=25):
    """A scale and a shift a value in every layer; the last map has no bias."""
    convolutional = 9 * types * types * values + 2 * values
    return 2 * values + 2 * convolutional + positions * types * classes * values + 2 * values + values


def test_the_paper_size_has_the_parameters_of_the_authors_network():
    with torch.device("meta"):
        network = InvertedAttentionCapsNet(CIFAR10, 10, InvertedAttentionRouting)
    simple = 9 * 3 * 256 + 256
    assert count(network.backbone) == simple
    assert count(network) == simple + 256 * 32 * 16 + capsule_layers() == 561_296


def test_the_resnet_backbone_has_the_parameters_of_the_authors_network():
    with torch.device("meta"):
        network = InvertedAttentionCapsNet(CIFAR10, 10, InvertedAttentionRouting, backbone="resnet")
    stem = 9 * 3 * 64 + 2 * 64
    first = 3 * (2 * 9 * 64 * 64 + 4 * 64)
    second = 9 * 64 * 128 + 7 * 9 * 128 * 128 + 16 * 128 + 64 * 128 + 2 * 128
    assert count(network.backbone) == stem + first + second
    assert count(network) == stem + first + second + 128 * 32 * 16 + capsule_layers() == 1_828_816


def test_transformation_matrices_start_as_the_authors():
    torch.manual_seed(0)
    network = InvertedAttentionCapsNet(CIFAR10, 10, InvertedAttentionRouting)
    sigmas = [layer.weights.std().item() for layer in (*network.convolutional, network.classes)]
    expected = [(32 / (4 * 9 * 32)) ** 0.5] * 2 + [(10 / (4 * 25 * 32)) ** 0.5]
    assert sigmas == pytest.approx(expected, rel=0.02)


def made(iterations, order="auto", **options):
    """A small network whose norms are not those of the start, in float64."""

    def routing(children, parents):
        return InvertedAttentionRouting(children, parents, iterations=iterations, **options)

    torch.manual_seed(0)
    network = InvertedAttentionCapsNet(
        ImageShape(1, 20, 18), 6, routing, width=5, types1=2, types2=3, types3=2, rows=2, order=order
    )
    for name, parameter in network.named_parameters():
        if "norm" in name:
            with torch.no_grad():
                parameter.add_(0.3 * torch.rand(parameter.shape))
    return network.double()


IMAGES = torch.rand(2, 1, 20, 18, dtype=torch.double, generator=torch.Generator().manual_seed(0))


def primary_poses(network):
    """Poses ``[B, H, W, types, R, D]`` of the primary capsules."""
    poses = network.primary(network.backbone(IMAGES)).permute(0, 2, 3, 1).unflatten(3, (2, 4))
    normal = F.layer_norm(poses, (4,), network.norm.weight, network.norm.bias)
    return normal.unflatten(4, (2, 2))


def votes_of(layer, below, stride):
    """All votes ``[B, H, W, children, J, R, E]`` for a layer, or ``[B, children, J, R, E]`` for the class capsules."""
    if stride is None:
        return torch.einsum("bird,ijde->bijre", below.flatten(1, 3), layer.weights)
    height, width = ((side - 3) // stride + 1 for side in below.shape[1:3])
    rows = []
    for y in range(height):
        windows = [below[:, y * stride : y * stride + 3, x * stride : x * stride + 3] for x in range(width)]
        rows.append(torch.stack([window.flatten(1, 3) for window in windows], dim=1))
    return torch.einsum("bhwird,ijde->bhwijre", torch.stack(rows, dim=1), layer.weights)


def moved(layer, votes, above):
    """One iteration, Procedure 1, from poses ``above``."""
    agreement = (votes * above.unsqueeze(-4)).sum(dim=(-1, -2)) / 2  # the root of a pose's 4 values
    summed = (agreement.softmax(dim=-1)[..., None, None] * votes).sum(dim=-4)
    norm = layer.routing.norm
    return F.layer_norm(summed.flatten(-2), norm.normalized_shape, norm.weight, norm.bias).unflatten(-1, (2, 2))


def class_poses(network, iterations, concurrent):
    """Procedure 2 for three layers, and the same with one layer after another."""
    layers = [(*network.convolutional, network.classes)[k] for k in range(3)]
    strides = [2, 1, None]
    poses = [primary_poses(network)]
    for layer, stride in zip(layers, strides, strict=True):
        votes = votes_of(layer, poses[-1], stride)
        pose = torch.zeros_like(votes[..., 0, :, :, :])
        for _ in range(1 if concurrent else iterations):
            pose = moved(layer, votes, pose)
        poses.append(pose)
    for _ in range(iterations - 1 if concurrent else 0):
        before = list(poses)
        for k in range(3):
            poses[k + 1] = moved(layers[k], votes_of(layers[k], before[k], strides[k]), before[k + 1])
    return poses[-1]


@pytest.mark.parametrize("iterations", [1, 2, 3])
@pytest.mark.parametrize("order", ["concurrent", "sequential"])
def test_class_poses_and_probabilities_are_those_of_the_procedure(order, iterations):
    network = made(iterations, order)
    expected = class_poses(network, iterations, order == "concurrent")
    capsules = network.capsules(IMAGES)
    torch.testing.assert_close(capsules.poses, expected)
    logits = F.linear(expected.flatten(2), network.classes.routing.head.weight).squeeze(2)
    torch.testing.assert_close(capsules.activations, logits.softmax(dim=1))


def test_layers_that_move_at_once_move_otherwise_from_the_second_iteration():
    for iterations, same in ((1, True), (2, False)):
        scores = [made(iterations, order)(IMAGES) for order in ("concurrent", "sequential")]
        assert torch.allclose(*scores) == same


def test_concurrent_is_the_default_where_the_routing_can():
    assert made(2).concurrent
    network = InvertedAttentionCapsNet(DIGITS, 10, DynamicRouting, **InvertedAttentionCapsNet.sizes(DIGITS)["tiny"])
    assert not network.concurrent


def test_cross_entropy_is_that_of_the_papers_logits():
    """Class activations are a softmax already; dividing them by their sum and taking the log gives log-softmax back."""
    network = made(2)
    capsules = network.capsules(IMAGES)
    logits = network.classes.routing.head(capsules.poses.flatten(2)).squeeze(2)
    labels = torch.tensor([3, 1])
    losses = CrossEntropy(capsules=True)(capsules.activations, labels, 0.0), F.cross_entropy(logits, labels)
    torch.testing.assert_close(*losses)
    parameters = list(network.parameters())
    for ours, theirs in zip(
        *(torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("reconstruction", [True, False])
@pytest.mark.parametrize("routing", ["inverted-attention", "dynamic", "em", "uniform", "self-routing"])
def test_training_steps_reach_every_parameter_with_every_routing(make_cell, routing, reconstruction):
    cell = make_cell(network="capsnet-tsai2020", routing=routing, iters=2, lr=0.001, reconstruction=reconstruction)
    torch.manual_seed(0)
    built = build_network(cell)
    step = TrainingStep(cell, built)
    for _ in range(4):  # self-routing's matrices start at 0, so a gradient takes a step a layer on its way down
        step(Batch(torch.rand(6, 1, 8, 8), torch.arange(6)), 0.5)
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # EM's activations are certain of votes as alike as this network's at the start, so there it learns nothing.
        if parameter.numel() and "bias" not in name and routing != "em":
            assert parameter.grad.any(), name


@pytest.mark.parametrize(("dataset", "side"), [("digits", 8), ("mnist", 28)])
@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
def test_scores_are_probabilities_of_the_classes(make_cell, dataset, side, size):
    cell = make_cell(routing="inverted-attention", dataset=dataset, size=size)
    assert cell.network == "capsnet-tsai2020"
    with torch.no_grad():
        scores = build_network(cell)(torch.rand(2, 1, side, side))
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    ("argument", "value", "choices"),
    [
        ("order", "random", ["auto", "concurrent", "sequential"]),
        ("order", "concurrent", ["auto", "sequential"]),
        ("backbone", "vgg", ["simple", "resnet"]),
    ],
)
def test_wrong_options_are_refused_in_one_line(argument, value, choices):
    with torch.device("meta"), pytest.raises(ArgumentError) as caught:
        InvertedAttentionCapsNet(CIFAR10, 10, DynamicRouting, **{argument: value})
    assert (caught.value.argument, caught.value.value) == (argument, value)
    assert all(choice in caught.value.expected for choice in choices)
    assert "\n" not in str(caught.value)
