"""The network of Tsai, Srivastava, Goh and Salakhutdinov 2020, "Capsules with Inverted Dot-Product Attention Routing"."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from capsbench.data.images import ImageShape
from capsbench.errors import ArgumentError, check_choice
from capsbench.networks.base import CapsuleNetwork, shrink_side
from capsbench.networks.layers import Capsules, ClassCapsules, ConvolutionalCapsules, Decoder
from capsbench.networks.resnet import build_projection_shortcut, build_residual_stage
from capsbench.routing.base import RoutingFactory
from capsbench_baselines.reduction import count_reductions, make_reduction, reduce_shape
from capsbench_kernels import at_least_float32


class InvertedAttentionCapsNet(CapsuleNetwork):
    """The network of Tsai et al. 2020, with concurrent routing over all its capsule layers.

    A backbone, primary capsules from a 1x1 convolution and a layer norm, two layers of 3x3 convolutional capsules, and class
    capsules.

    The defaults are the authors' CIFAR-10 configuration with the simple backbone: 561,296 parameters on 32x32x3 images, and
    1,828,816 with ``backbone=resnet``. The authors' code has one parameter more, a bias that cancels (see the routing).
    Transformation matrices are drawn from N(0, J / (D I)), as in the authors' code. The network has no activations; routings that
    need them get 1 for every primary capsule.

    Args:
        backbone: ``simple``, one 3x3 convolution with a ReLU, or ``resnet``: a 3x3 convolution with half the channels, a stage
            of 3 residual blocks of that width and a stage of 4 blocks of the full width.
        width: channels of the feature map; 0 means the authors' value, 256 for the simple backbone and 128 for the other.
        stride: stride of the backbone.
        types1, types2, types3: capsule types of the primary layer and of the two convolutional layers.
        rows: side of the square pose matrix.
        capsule_stride: stride of the first convolutional capsule layer.
        order: ``concurrent``: after a first iteration layer by layer, all layers are updated at once in every iteration, each
            from its own previous poses and those of the layer below (Procedure 2). ``sequential``: a layer finishes its
            iterations before the next layer starts. ``auto``: concurrent if the routing can start from given poses, as
            inverted attention can, otherwise sequential.
        reductions: convolutions of stride 2 before the first one (`capsbench_baselines.reduction`); the paper has none.
            ``tiny`` and ``small`` have some for images of 64 pixels and more.
    """

    later_options = frozenset({"reductions"})

    loss = "cross-entropy"
    routing = "inverted-attention"

    @classmethod
    def recipe(cls, size: str) -> dict[str, Any]:
        # As in the authors' code, except for the schedule: they train 350 epochs and divide the rate by 10 after 150 and 250.
        paper = dict(optimizer="sgd", learning_rate=0.1, weight_decay=5e-4, batch_size=128)
        return paper if size == "paper" else {}

    @classmethod
    def sizes(cls, image: ImageShape) -> dict[str, dict[str, Any]]:
        strides = {} if min(image.height, image.width) >= 20 else dict(stride=1, capsule_stride=1)
        common = dict(**strides, reductions=count_reductions(image))
        return {
            "tiny": dict(width=32, types1=4, types2=4, types3=4, **common),
            "small": dict(width=64, types1=8, types2=8, types3=8, **common),
            "paper": strides,
        }

    def __init__(
        self,
        image: ImageShape,
        classes: int,
        routing: RoutingFactory,
        *,
        reconstruction: bool = False,
        backbone: str = "simple",
        width: int = 0,
        stride: int = 2,
        types1: int = 32,
        types2: int = 32,
        types3: int = 32,
        rows: int = 4,
        capsule_stride: int = 2,
        order: str = "auto",
        hidden1: int = 512,
        hidden2: int = 1024,
        reductions: int = 0,
    ) -> None:
        super().__init__()
        self.reduction = make_reduction(image.channels, reductions)
        channels, *sides = reduce_shape(image, reductions)
        check_choice("backbone", backbone, ("simple", "resnet"))
        check_choice("order", order, ("auto", "concurrent", "sequential"))
        width = width or (256 if backbone == "simple" else 128)
        grid = [shrink_side(side + 2, 3, stride) for side in sides]
        grids = [grid, [shrink_side(side, 3, capsule_stride) for side in grid]]
        grids.append([shrink_side(side, 3, 1) for side in grids[1]])
        pose = (rows, rows)

        def compute_sigma(children: int, parents: int) -> float:
            return math.sqrt(parents / (rows * children))

        if backbone == "simple":
            self.backbone = nn.Sequential(nn.Conv2d(channels, width, 3, stride, padding=1), nn.ReLU())
        else:
            self.backbone = nn.Sequential(
                nn.Conv2d(channels, width // 2, 3, padding=1, bias=False),
                nn.BatchNorm2d(width // 2),
                nn.ReLU(),
                build_residual_stage(width // 2, width // 2, 3, 1, build_projection_shortcut),
                build_residual_stage(width // 2, width, 4, stride, build_projection_shortcut),
            )
        self.primary = nn.Conv2d(width, types1 * rows * rows, 1, bias=False)
        self.norm = nn.LayerNorm(rows * rows)
        self.types, self.pose = types1, pose
        convolutional = [(types1, types2, capsule_stride), (types2, types3, 1)]
        self.convolutional = nn.ModuleList(
            ConvolutionalCapsules(
                below, types, pose, routing, kernel=3, stride=step, transform_sigma=compute_sigma(9 * below, types)
            )
            for below, types, step in convolutional
        )
        height, across = grids[2]
        self.classes = ClassCapsules(
            (height, across),
            types3,
            classes,
            pose,
            rows,
            routing,
            shared=False,
            poses_read=reconstruction,
            coordinate_addition=False,
            transform_sigma=compute_sigma(height * across * types3, classes),
        )
        self.decoder = Decoder(classes * rows * rows, image, (hidden1, hidden2), reductions) if reconstruction else None
        continues = self.classes.routing.continues
        if order == "concurrent" and not continues:
            expected = "auto or sequential with a routing that cannot start from given poses (inverted-attention can)"
            raise ArgumentError("order", expected, order)
        self.concurrent = continues and order != "sequential"

    def capsules(self, images: Tensor) -> Capsules:
        features = at_least_float32(self.primary(self.backbone(self.reduction(images))))
        poses = self.norm(features.movedim(1, -1).unflatten(-1, (self.types, -1))).unflatten(-1, self.pose)
        primary = Capsules(poses, poses.new_ones(poses.shape[:-2]))
        layers = [*self.convolutional, self.classes]
        steps = {"steps": 1} if self.concurrent else {}
        # The first iteration goes layer by layer, because a layer cannot route before the layer below has poses.
        states = [primary]
        for layer in layers:
            states.append(layer(states[-1], **steps))
        if self.concurrent:
            for _ in range(self.classes.routing.iterations - 1):
                # Every layer reads the states of the previous iteration, so the new ones replace them only when all are done.
                updated = [
                    layer(below, parents=above.poses.flatten(0, -4), **steps)
                    for layer, (below, above) in zip(layers, pairwise(states), strict=True)
                ]
                states = [primary, *updated]
        return states[-1]
