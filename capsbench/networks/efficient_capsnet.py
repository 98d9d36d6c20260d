"""Efficient-CapsNet (Mazzia, Salvetti, Chiaberge 2021, "Efficient-CapsNet: Capsule Network with Self-Attention Routing")."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from capsbench.data.images import ImageShape
from capsbench.networks.base import CapsuleNetwork, shrink_side
from capsbench.networks.layers import Capsules, ClassCapsules, Decoder
from capsbench.routing.base import RoutingFactory
from capsbench_baselines.reduction import count_reductions, make_reduction, reduce_shape
from capsbench_kernels import at_least_float32, squash, vector_length


class EfficientCapsNet(CapsuleNetwork):
    """Efficient-CapsNet of Mazzia, Salvetti and Chiaberge 2021, with its decoder.

    Four convolutions with batch norm, primary capsules from a depthwise convolution over the whole grid, class capsules and a
    decoder.

    The defaults are the paper's network for MNIST: 161,824 parameters on 28x28x1 images without the decoder, 1,573,168 with it.
    The paper's "161K" excludes the decoder and includes the scales and shifts of the batch norms. Weights are initialised as in
    the authors' code (He normal, Glorot), except that its library truncates normals at two deviations and keeps the variance.

    Args:
        channels1, channels2, channels3: channels of the first three convolutions; the fourth has ``types * pose``.
        types: number of primary capsules, all at one position.
        pose: number of values of a primary capsule.
        class_pose: number of values of a class capsule.
        kernel1, kernel: side of the first convolution and of the other three; the last has stride 2.
        hidden1, hidden2: widths of the decoder.
        transform_sigma: W ~ N(0, sigma^2); 0 means the authors' ``sqrt(2 / (classes * types * pose))``, He's rule with the fan
            that their library derives from the shape of W.
        reductions: convolutions of stride 2 before the first one (`capsbench_baselines.reduction`); the paper has none.
            ``tiny`` and ``small`` have some for images of 64 pixels and more.
    """

    later_options = frozenset({"reductions"})

    loss = "margin"
    routing = "self-attention"

    @classmethod
    def recipe(cls, size: str) -> dict[str, Any]:
        # As in the authors' code, except for its 150 epochs and its lower bound of 5e-5 on the learning rate.
        paper = dict(learning_rate=0.0005, schedule="exponential", decay=0.97, batch_size=16)
        return paper if size == "paper" else {}

    @classmethod
    def sizes(cls, image: ImageShape) -> dict[str, dict[str, Any]]:
        kernels = {} if min(image.height, image.width) >= 20 else dict(kernel1=3, kernel=2)
        common = dict(**kernels, reductions=count_reductions(image))
        return {
            "tiny": dict(channels1=16, channels2=32, channels3=32, types=8, hidden1=64, hidden2=128, **common),
            "small": dict(channels1=24, channels2=48, channels3=48, types=12, hidden1=128, hidden2=256, **common),
            "paper": kernels,
        }

    def __init__(
        self,
        image: ImageShape,
        classes: int,
        routing: RoutingFactory,
        *,
        reconstruction: bool = True,
        channels1: int = 32,
        channels2: int = 64,
        channels3: int = 64,
        types: int = 16,
        pose: int = 8,
        class_pose: int = 16,
        kernel1: int = 5,
        kernel: int = 3,
        hidden1: int = 512,
        hidden2: int = 1024,
        transform_sigma: float = 0.0,
        reductions: int = 0,
    ) -> None:
        super().__init__()
        self.reduction = make_reduction(image.channels, reductions)
        reduced, *sides = reduce_shape(image, reductions)
        channels, grid = [reduced, channels1, channels2, channels3, types * pose], (sides[0], sides[1])
        stem: list[nn.Module] = []
        for layer, (side, stride) in enumerate([(kernel1, 1), (kernel, 1), (kernel, 1), (kernel, 2)]):
            grid = (shrink_side(grid[0], side, stride), shrink_side(grid[1], side, stride))
            convolution = nn.Conv2d(channels[layer], channels[layer + 1], side, stride)
            initialise_layer(convolution, nn.init.kaiming_normal_)
            # The defaults of the authors' library; torch counts momentum the other way round, so their 0.99 is 0.01 here.
            stem += [convolution, nn.ReLU(), nn.BatchNorm2d(channels[layer + 1], eps=0.001, momentum=0.01)]
        self.stem = nn.Sequential(*stem)
        self.primary = DepthwisePrimaryCapsules(types, pose, grid, separate_activations=routing.separate_activations)
        self.classes = ClassCapsules(
            (1, 1),
            types,
            classes,
            (1, pose),
            class_pose,
            routing,
            shared=False,
            poses_read=reconstruction,
            coordinate_addition=False,
            transform_sigma=transform_sigma or math.sqrt(2 / (classes * types * pose)),
        )
        if reconstruction:
            self.decoder = Decoder(classes * class_pose, image, (hidden1, hidden2), reductions)
            *hidden, last = (layer for layer in self.decoder.layers if isinstance(layer, nn.Linear))
            for linear in hidden:
                initialise_layer(linear, nn.init.kaiming_normal_)
            initialise_layer(last, nn.init.xavier_normal_)

    def capsules(self, images: Tensor) -> Capsules:
        return self.classes(self.primary(self.stem(self.reduction(images))))


class DepthwisePrimaryCapsules(nn.Module):
    """Primary capsules whose values each come from one whole channel, by a depthwise convolution as large as the grid.

    Args:
        types: number of capsules, all at the one position of the output.
        pose: number of values of a capsule; the feature map has ``types * pose`` channels.
        grid: (H, W) of the feature map.
        separate_activations: computes activations, which the paper does not have, for routings that need them. Poses then stay
            linear, and a second convolution over the channels of each capsule, with a sigmoid, gives its activation.
    """

    def __init__(self, types: int, pose: int, grid: tuple[int, int], *, separate_activations: bool) -> None:
        super().__init__()
        self.types = types
        self.poses = nn.Conv2d(types * pose, types * pose, grid, groups=types * pose)
        initialise_layer(self.poses, nn.init.xavier_uniform_)
        self.activations = nn.Conv2d(types * pose, types, grid, groups=types) if separate_activations else None

    def forward(self, features: Tensor) -> Capsules:
        """Maps a feature map ``[B, types * pose, H, W]`` to capsules on a 1x1 grid."""
        poses = at_least_float32(self.poses(features)).movedim(1, -1).unflatten(-1, (self.types, 1, -1))
        if self.activations is not None:
            return Capsules(poses, torch.sigmoid(at_least_float32(self.activations(features))).movedim(1, -1))
        poses = squash(poses, variant="efficient")
        return Capsules(poses, vector_length(poses.flatten(-2), dim=-1))


def initialise_layer(layer: nn.Conv2d | nn.Linear, draw: Callable[[Tensor], object]) -> None:
    """Draws the weights of a layer with ``draw`` and sets its biases to 0."""
    draw(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
