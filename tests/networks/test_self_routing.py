"""SR-CapsNet against its authors' description, its capsule layers written once more with unfolded windows."""

import pytest
import torch
from torch.nn import functional as F

from capsbench.data.images import Batch
from capsbench.errors import ArgumentError
from capsbench.networks import ImageShape
from capsbench.networks.build import build_network
from capsbench.networks.layers import Capsules
from capsbench.networks.self_routing import SelfRoutingCapsNet, compute_he_sigma, pad_capsules
from capsbench.routing import DynamicRouting
from capsbench.routing.self_routing import SelfRouting
from capsbench.training.losses import CrossEntropy
from capsbench.training.step import TrainingStep

CIFAR10 = ImageShape(3, 32, 32)
DIGITS = ImageShape(1, 8, 8)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def resnet20(width=16):
    """Convolutions without a bias and a scale and a shift a channel; shortcuts have no parameters."""
    total, before = 9 * 3 * width + 2 * width, width
    for channels in (width, 2 * width, 4 * width):
        total += 9 * before * channels + 5 * 9 * channels**2 + 6 * 2 * channels
        before = channels
    return total


def test_the_paper_size_has_the_parameters_of_the_authors_network():
    with torch.device("meta"):
        network = SelfRoutingCapsNet(CIFAR10, 10, SelfRouting)
    assert count(network.backbone) == resnet20() == 269_072
    primary = (9 * 64 + 2) * 32 + (9 * 64 + 2) * 32 * 16
    assert count(network.primary) == primary
    classes = 8 * 8 * 32 * 10 * (16 + 1)  # a routing matrix and bias a child and class, and no transformation matrix
    assert count(network.classes) == classes
    assert count(network) == 269_072 + primary + classes == 931_664


def test_a_layer_of_convolutional_capsules_halves_the_grid():
    with torch.device("meta"):
        network = SelfRoutingCapsNet(CIFAR10, 10, SelfRouting, capsule_layers=2)
    convolutional = 9 * 32 * 32 * (16 * 16 + 16 + 1) + 2 * 32 * 16
    assert count(network.convolutional) + count(network.norms) == convolutional
    assert count(network.classes) == 4 * 4 * 32 * 10 * 17


def drawn(network):
    """The same with routing matrices and norms that are not those of the start."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if ("routing" in name or "norm" in name) and tensor.is_floating_point():
            with torch.no_grad():
                tensor.add_(0.3 * torch.rand(tensor.shape, generator=generator, dtype=torch.double))
    return network


def unfolded(layer, poses, activations, kernel, stride, padding):
    """One capsule layer with maps ``[B, types * values, H, W]`` and ``[B, types, H, W]``, all its votes in memory."""
    routing = layer.routing
    batch, types = activations.shape[:2]

    def children(maps):
        windows = F.unfold(maps, kernel, stride=stride, padding=padding)
        return windows.view(batch, types, -1, kernel**2, windows.shape[-1]).permute(0, 4, 3, 1, 2).flatten(2, 3)

    pose, active = children(poses), children(activations)
    logits = torch.einsum("blid,ijd->blij", pose, routing.routing_matrices.squeeze(2)) + routing.routing_bias
    shares = logits.softmax(dim=3) * active
    votes = torch.einsum("blid,ijde->blije", pose, layer.weights)
    parents = torch.einsum("blij,blije->blje", shares / shares.sum(dim=2, keepdim=True), votes)
    return parents, shares.sum(dim=2) / active.sum(dim=2)


@pytest.mark.parametrize("reconstruction", [True, False])
def test_scores_are_those_of_unfolded_windows(reconstruction):
    torch.manual_seed(0)
    network = SelfRoutingCapsNet(
        ImageShape(1, 16, 16), 10, SelfRouting, width=4, blocks=1, types=3, pose=5, capsule_layers=2,
        reconstruction=reconstruction,
    )  # fmt: skip
    network = drawn(network.double().eval())
    images = torch.rand(2, 1, 16, 16, dtype=torch.double)
    features = network.backbone(images)
    assert features.shape == (2, 16, 4, 4)
    poses, activations = network.primary.poses(features), torch.sigmoid(network.primary.activations(features))

    poses, activations = unfolded(network.convolutional[0], poses, activations, kernel=3, stride=2, padding=1)
    poses = network.norms[0](poses.flatten(2).transpose(1, 2).reshape(2, 15, 2, 2))
    activations = activations.transpose(1, 2).reshape(2, 3, 2, 2)
    poses, activations = unfolded(network.classes, poses, activations, kernel=2, stride=1, padding=0)

    capsules = network.capsules(images)
    torch.testing.assert_close(capsules.activations, activations.squeeze(1))
    torch.testing.assert_close(capsules.poses.squeeze(2), poses.squeeze(1))
    assert capsules.poses.shape == (2, 10, 1, 5 if reconstruction else 0)


def test_cross_entropy_is_the_negative_log_of_the_class_activation():
    """As in the paper: self-routing's class activations add up to 1, so that dividing by their sum changes nothing."""
    torch.manual_seed(0)
    network = drawn(SelfRoutingCapsNet(DIGITS, 10, SelfRouting, **SelfRoutingCapsNet.sizes(DIGITS)["tiny"]).double())
    labels = torch.tensor([3, 1, 4])
    scores = network(torch.rand(3, *DIGITS, dtype=torch.double))
    loss = CrossEntropy(capsules=True)(scores, labels, 0.0)
    torch.testing.assert_close(loss, F.nll_loss(scores.log(), labels))


def test_capsules_beyond_the_border_are_empty():
    capsules = Capsules(torch.rand(2, 3, 4, 5, 1, 6), torch.rand(2, 3, 4, 5))
    poses, activations = pad_capsules(capsules)
    assert poses.shape == (2, 5, 6, 5, 1, 6)
    assert torch.equal(poses[:, 1:-1, 1:-1], capsules.poses)
    assert torch.equal(activations[:, 1:-1, 1:-1], capsules.activations)
    for padding in (poses, activations):
        padding[:, 1:-1, 1:-1] = 0
        assert not padding.any()


def test_squashed_poses_are_not_normed():
    network = SelfRoutingCapsNet(DIGITS, 10, DynamicRouting, **SelfRoutingCapsNet.sizes(DIGITS)["tiny"])
    below = network.primary(network.backbone(torch.rand(2, *DIGITS)))
    torch.testing.assert_close(below.activations, below.poses.flatten(4).norm(dim=4))
    assert not list(network.norms.parameters())


def test_weights_have_the_variance_of_he():
    torch.manual_seed(0)
    network = SelfRoutingCapsNet(CIFAR10, 10, DynamicRouting, capsule_layers=2)
    convolution = network.primary.poses[0].weight
    assert convolution.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert convolution.abs().max().item() == pytest.approx((6 / (9 * 64)) ** 0.5, rel=0.02)
    assert network.convolutional[0].weights.std().item() == pytest.approx((2 / (32 * 16 * 16)) ** 0.5, rel=0.02)
    assert network.classes.weights.std().item() == pytest.approx(compute_he_sigma(10, 16, 16), rel=0.02)


@pytest.mark.parametrize("reconstruction", [True, False])
@pytest.mark.parametrize("routing", ["self-routing", "dynamic", "em", "uniform", "inverted-attention"])
def test_training_steps_reach_every_parameter_with_every_routing(make_cell, routing, reconstruction):
    cell = make_cell(network="capsnet-hahn2019", routing=routing, iters=2, lr=0.001, reconstruction=reconstruction)
    torch.manual_seed(0)
    built = build_network(cell)
    step = TrainingStep(cell, built)
    for _ in range(3):  # self-routing's matrices start at 0, so a gradient takes a step a layer on its way down
        step(Batch(torch.rand(6, 1, 8, 8), torch.arange(6)), 0.5)
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if parameter.numel() and "bias" not in name:
            assert parameter.grad.any(), name


@pytest.mark.parametrize(("dataset", "side"), [("digits", 8), ("mnist", 28)])
@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
def test_scores_are_probabilities_of_the_classes(make_cell, dataset, side, size):
    cell = make_cell(routing="self-routing", dataset=dataset, size=size)
    assert cell.network == "capsnet-hahn2019"
    with torch.no_grad():
        scores = build_network(cell)(torch.rand(2, 1, side, side))
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(2))


def test_a_network_without_class_capsules_is_refused_in_one_line():
    with torch.device("meta"), pytest.raises(ArgumentError) as caught:
        SelfRoutingCapsNet(CIFAR10, 10, SelfRouting, capsule_layers=0)
    assert (caught.value.argument, caught.value.value) == ("capsule_layers", 0)


def test_a_batch_of_one_image_is_trained_on_where_the_grid_is_one_position(make_cell):
    cell = make_cell(network="capsnet-hahn2019", routing="self-routing")
    torch.manual_seed(0)
    network = build_network(cell).train()
    assert network(torch.rand(1, 1, 8, 8)).isfinite().all()
