"""SR-CapsNet (Hahn, Pyeon, Kim 2019, "Self-Routing Capsule Networks", section 5)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from capsbench.data.images import ImageShape
from capsbench.errors import ArgumentError
from capsbench.networks.base import CapsuleNetwork, shrink_side
from capsbench.networks.layers import Capsules, ClassCapsules, ConvolutionalCapsules, Decoder, PrimaryCapsules
from capsbench.networks.resnet import PaddedShortcut, build_residual_stage
from capsbench.routing.base import RoutingFactory
from capsbench_baselines.reduction import count_reductions, make_reduction, reduce_shape


class SelfRoutingCapsNet(CapsuleNetwork):
    """SR-CapsNet of Hahn, Pyeon and Kim 2019: a ResNet-20 whose last layers are capsules.

    A ResNet for small images, primary capsules from 3x3 convolutions with batch norm, convolutional capsules on a grid that is
    padded with capsules of activation 0, a batch norm of their poses, and class capsules.

    The defaults are those of the authors' code for CIFAR-10: 931,664 parameters on 32x32x3 images. As there, class capsules
    have no poses if the network has no decoder and the routing's activations do not depend on votes, as in self-routing. With
    routings whose activation is the length of the pose, poses are squashed and have no batch norm. All weights, including
    transformation matrices, have the variance of He's uniform initialisation, as in the authors' code.

    Args:
        width: channels of the first of the ResNet's three stages; the others have two and four times as many.
        blocks: residual blocks per stage; 3 is ResNet-20, 5 is ResNet-32.
        types: capsule types of every layer below the class capsules.
        pose: number of values of a pose, which is a vector.
        capsule_layers: number of routed layers, including the class capsules; the first convolutional one has stride 2.
        reductions: convolutions of stride 2 before the first one (`capsbench_baselines.reduction`); the paper has none.
            ``tiny`` and ``small`` have some for images of 64 pixels and more.
    """

    later_options = frozenset({"reductions"})

    loss = "cross-entropy"
    routing = "self-routing"

    @classmethod
    def recipe(cls, size: str) -> dict[str, Any]:
        # As in the authors' code, except for the schedule: they train 350 epochs and divide the rate by 10 after 150 and 250.
        paper = dict(optimizer="sgd", learning_rate=0.1, weight_decay=1e-4, batch_size=64)
        return paper if size == "paper" else {}

    @classmethod
    def sizes(cls, image: ImageShape) -> dict[str, dict[str, Any]]:
        reductions = count_reductions(image)
        return {
            "tiny": dict(width=8, blocks=1, types=8, pose=8, capsule_layers=2, reductions=reductions),
            "small": dict(width=16, blocks=1, types=16, pose=8, capsule_layers=2, reductions=reductions),
            "paper": {},
        }

    def __init__(
        self,
        image: ImageShape,
        classes: int,
        routing: RoutingFactory,
        *,
        reconstruction: bool = False,
        width: int = 16,
        blocks: int = 3,
        types: int = 32,
        pose: int = 16,
        capsule_layers: int = 1,
        hidden1: int = 512,
        hidden2: int = 1024,
        reductions: int = 0,
    ) -> None:
        super().__init__()
        self.reduction = make_reduction(image.channels, reductions)
        channels, *sides = reduce_shape(image, reductions)
        if capsule_layers < 1:
            raise ArgumentError("capsule_layers", "1 or more", capsule_layers)
        self.backbone = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            build_residual_stage(width, width, blocks, 1, PaddedShortcut),
            build_residual_stage(width, 2 * width, blocks, 2, PaddedShortcut),
            build_residual_stage(2 * width, 4 * width, blocks, 2, PaddedShortcut),
        )
        separate = routing.separate_activations
        self.primary = PrimaryCapsules(
            4 * width, types, (1, pose), kernel=3, padding=1, batch_norm=True, separate_activations=separate
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight)

        strides = [2, *[1] * (capsule_layers - 2)][: capsule_layers - 1]
        # A 3x3 convolution with padding 1 sees a grid two larger. Two stages of the ResNet and each strided layer shrink it.
        grid = [shrink_side(side + 2, 3, 2) for side in sides]
        for stride in [2, *strides]:
            grid = [shrink_side(side + 2, 3, stride) for side in grid]
        self.convolutional = nn.ModuleList(
            ConvolutionalCapsules(
                types,
                types,
                (1, pose),
                routing,
                kernel=3,
                stride=stride,
                transform_sigma=compute_he_sigma(types, pose, pose),
            )
            for stride in strides
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(types * pose) if separate else nn.Identity() for _ in strides)
        self.classes = ClassCapsules(
            (grid[0], grid[1]),
            types,
            classes,
            (1, pose),
            pose,
            routing,
            shared=False,
            poses_read=reconstruction,
            coordinate_addition=False,
            transform_sigma=compute_he_sigma(classes, pose, pose),
        )
        self.decoder = Decoder(classes * pose, image, (hidden1, hidden2), reductions) if reconstruction else None

    def capsules(self, images: Tensor) -> Capsules:
        below = self.primary(self.backbone(self.reduction(images)))
        for layer, norm in zip(self.convolutional, self.norms, strict=True):
            below = normalise_poses(layer(pad_capsules(below)), norm)
        return self.classes(below)


def compute_he_sigma(parents: int, depth: int, columns: int) -> float:
    """Returns He's standard deviation for a child's transformation matrices ``[J, D, E]``, with the authors' fan."""
    return math.sqrt(2 / (parents * depth * columns))


def pad_capsules(capsules: Capsules) -> Capsules:
    """Adds a border, one capsule wide, of capsules with pose and activation 0 to a grid."""
    poses = F.pad(capsules.poses, (0, 0, 0, 0, 0, 0, 1, 1, 1, 1))
    return Capsules(poses, F.pad(capsules.activations, (0, 0, 1, 1, 1, 1)))


def normalise_poses(capsules: Capsules, norm: nn.Module) -> Capsules:
    """Normalises the poses of capsules on a grid as feature maps ``[B, types * R * D, H, W]``."""
    types, rows, depth = capsules.poses.shape[3:]
    features = capsules.poses.flatten(3).movedim(-1, 1)
    if isinstance(norm, nn.BatchNorm2d) and features[:, 0].numel() == 1:  # one image on a 1x1 grid has no variance
        features = F.batch_norm(features, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    else:
        features = norm(features)
    poses = features.movedim(1, -1).unflatten(-1, (types, rows, depth))
    return Capsules(poses, capsules.activations)
