"""CapsNet (Sabour, Frosst, Hinton 2017, "Dynamic Routing Between Capsules", section 4)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from capsbench.data.images import ImageShape
from capsbench.errors import ArgumentError
from capsbench.networks.base import CapsuleNetwork, shrink_side
from capsbench.networks.layers import Capsules, ClassCapsules, Decoder, PrimaryCapsules
from capsbench.routing.base import RoutingFactory
from capsbench_baselines.reduction import count_reductions, make_reduction, reduce_shape

MOST_CLASSES = 100
"""The most classes without shared transforms."""


class CapsNet(CapsuleNetwork):
    """CapsNet of Sabour, Frosst and Hinton 2017, with its decoder.

    A convolution, primary capsules from a second convolution, class capsules with a transformation matrix per (child, class)
    pair, and a decoder.

    The defaults are the paper's: 8,215,568 parameters on 28x28x1 images with the decoder, 6,804,224 without.

    Args:
        stem: channels of the first convolution.
        types: primary capsule types.
        pose: number of values of a primary capsule.
        class_pose: number of values of a class capsule.
        kernel: side of both convolutions.
        shared_transforms: all positions of a type share one transformation matrix per class (Gu and Tresp 2020).
        squash: the squash of the primary capsules: ``sabour``, ``efficient`` or ``unit`` (`capsbench_kernels.squash`).
        primary_scale: multiplies the primary capsules before their squash. The authors' code divides them by 32, the number of
            types, and then adds a bias, initially 0.1. Here the bias is added before the scaling.
        coordinate_addition: adds a child's position to its votes for the classes (Hinton 2018).
        hidden1, hidden2: widths of the decoder.
        transform_sigma: W ~ N(0, sigma^2); 0.1 in the authors' code, not stated in the paper.
        reductions: convolutions of stride 2 before the first one (`capsbench_baselines.reduction`); the paper has none.
            ``tiny`` and ``small`` have some for images of 64 pixels and more.

    Raises:
        ArgumentError: there are more than `MOST_CLASSES` classes, and no shared transforms.
    """

    later_options = frozenset({"reductions"})

    loss = "margin"
    routing = "dynamic"

    @classmethod
    def recipe(cls, size: str) -> dict[str, Any]:
        if size == "small":
            return dict(learning_rate=0.003)  # chosen by validation accuracy, see docs/protocol.md
        # Adam with torch's defaults and a decay per epoch, as in public reproductions of the paper's results.
        return dict(learning_rate=0.001, schedule="exponential", decay=0.96, batch_size=128) if size == "paper" else {}

    @classmethod
    def sizes(cls, image: ImageShape) -> dict[str, dict[str, Any]]:
        kernel = 9 if min(image.height, image.width) >= 20 else 3
        common = dict(kernel=kernel, reductions=count_reductions(image))
        return {
            "tiny": dict(stem=32, types=4, hidden1=64, hidden2=128, **common),
            "small": dict(stem=64, types=8, hidden1=128, hidden2=256, **common),
            "paper": {},
        }

    def __init__(
        self,
        image: ImageShape,
        classes: int,
        routing: RoutingFactory,
        *,
        reconstruction: bool = True,
        stem: int = 256,
        types: int = 32,
        pose: int = 8,
        class_pose: int = 16,
        kernel: int = 9,
        shared_transforms: bool = False,
        squash: str = "sabour",
        primary_scale: float = 1.0,
        coordinate_addition: bool = False,
        hidden1: int = 512,
        hidden2: int = 1024,
        transform_sigma: float = 0.1,
        reductions: int = 0,
    ) -> None:
        super().__init__()
        if classes > MOST_CLASSES and not shared_transforms:
            expected = (
                f"yes for more than {MOST_CLASSES} classes: each position would have a matrix for each of {classes:,}"
            )
            raise ArgumentError("shared_transforms", expected, shared_transforms)
        self.reduction = make_reduction(image.channels, reductions)
        channels, *sides = reduce_shape(image, reductions)
        grid = tuple(shrink_side(shrink_side(side, kernel, 1), kernel, 2) for side in sides)
        self.stem = nn.Sequential(nn.Conv2d(channels, stem, kernel), nn.ReLU())
        self.primary = PrimaryCapsules(
            stem,
            types,
            (1, pose),
            kernel=kernel,
            stride=2,
            squash=squash,
            scale=primary_scale,
            separate_activations=routing.separate_activations,
        )
        self.classes = ClassCapsules(
            (grid[0], grid[1]),
            types,
            classes,
            (1, pose),
            class_pose,
            routing,
            shared=shared_transforms,
            poses_read=reconstruction,
            coordinate_addition=coordinate_addition,
            transform_sigma=transform_sigma,
        )
        self.decoder = Decoder(classes * class_pose, image, (hidden1, hidden2), reductions) if reconstruction else None

    def capsules(self, images: Tensor) -> Capsules:
        return self.classes(self.primary(self.stem(self.reduction(images))))
