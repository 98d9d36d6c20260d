"""Matrix capsules with EM routing (Hinton, Sabour, Frosst 2018, section 4)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from capsbench.data.images import ImageShape
from capsbench.errors import check_choice
from capsbench.networks.base import CapsuleNetwork, shrink_side
from capsbench.networks.layers import Capsules, ClassCapsules, ConvolutionalCapsules, Decoder, PrimaryCapsules
from capsbench.routing.base import RoutingFactory
from capsbench_baselines.reduction import count_reductions, make_reduction, reduce_shape


class MatrixCapsules(CapsuleNetwork):
    """Matrix capsules of Hinton, Sabour and Frosst 2018.

    A convolution, 1x1 primary capsules with 4x4 poses, two layers of convolutional capsules and class capsules.

    The defaults are the paper's A = 32, B = C = D = 32.

    Args:
        stem: channels of the first convolution (A).
        types1, types2, types3: capsule types of the primary layer and of the two convolutional layers (B, C, D).
        rows: side of the square pose matrix.
        pose_form: ``matrix``, or ``vector``: the same number of values in one row, with transformation matrices to match
            (Hinton 2018, table 1).
        capsule_kernel: side of the windows of the convolutional capsules.
        stem_kernel, stem_stride: kernel side and stride of the first convolution.
        capsule_stride: stride of the first convolutional capsule layer.
        coordinate_addition: adds a child's position to its votes for the classes.
        stem_norm: ``none`` as in the paper, or ``batch``: a batch norm after the first convolution. The paper does not mention
            one, but without it small networks stay at chance for a long time.
        transform_sigma: W ~ N(0, sigma^2); not stated in the paper, 1 in Gritzman 2019.
        transform_init: ``normal``: the same sigma in every layer. ``preserving``: sigma grows with the number of votes that
            are averaged to a pose of the layer below, so that votes have the same initial variance in all layers (for routings
            whose poses are means, such as EM). ``glorot``: sigma times Glorot's ``sqrt(2 / (fan in + fan out))``, where the
            fans are the number of values of a window's children and of as many parents (Ribeiro 2020).
        reductions: convolutions of stride 2 before the first one (`capsbench_baselines.reduction`); the paper has none.
            ``tiny`` and ``small`` have some for images of 64 pixels and more.
    """

    later_options = frozenset({"reductions"})

    loss = "spread"
    routing = "em"

    @classmethod
    def recipe(cls, size: str) -> dict[str, Any]:
        # The authors' batch size, rate and weight decay, as Gritzman 2019 reports them; their decay is 0.96 per 20,000 steps.
        paper = dict(learning_rate=0.003, schedule="exponential", decay=0.96, batch_size=64, weight_decay=2e-7)
        return paper if size == "paper" else {}

    @classmethod
    def sizes(cls, image: ImageShape) -> dict[str, dict[str, Any]]:
        changed = dict(stem_norm="batch", reductions=count_reductions(image))
        large = min(image.height, image.width) >= 20
        stem = dict(stem_kernel=5, stem_stride=2) if large else dict(stem_kernel=3, stem_stride=1, capsule_stride=1)
        return {
            "tiny": dict(stem=32, types1=4, types2=4, types3=8, **changed, **stem),
            "small": dict(stem=64, types1=8, types2=16, types3=16, **changed, **stem),
            "paper": {},
        }

    def __init__(
        self,
        image: ImageShape,
        classes: int,
        routing: RoutingFactory,
        *,
        reconstruction: bool = False,
        stem: int = 32,
        types1: int = 32,
        types2: int = 32,
        types3: int = 32,
        rows: int = 4,
        pose_form: str = "matrix",
        capsule_kernel: int = 3,
        stem_kernel: int = 5,
        stem_stride: int = 2,
        capsule_stride: int = 2,
        coordinate_addition: bool = True,
        stem_norm: str = "none",
        transform_sigma: float = 1.0,
        transform_init: str = "normal",
        hidden1: int = 512,
        hidden2: int = 1024,
        reductions: int = 0,
    ) -> None:
        super().__init__()
        check_choice("stem_norm", stem_norm, ("none", "batch"))
        check_choice("transform_init", transform_init, ("normal", "preserving", "glorot"))
        check_choice("pose_form", pose_form, ("matrix", "vector"))
        kernel = capsule_kernel
        self.reduction = make_reduction(image.channels, reductions)
        channels, *sides = reduce_shape(image, reductions)
        grid = [shrink_side(side, stem_kernel, stem_stride) for side in sides]
        grid = [shrink_side(shrink_side(side, kernel, capsule_stride), kernel, 1) for side in grid]
        pose = (rows, rows) if pose_form == "matrix" else (1, rows * rows)
        types = [types1, types2, types3, classes]
        sigmas = [transform_sigma * factor for factor in compute_transform_factors(transform_init, types, kernel, pose)]
        norm = [nn.BatchNorm2d(stem)] if stem_norm == "batch" else []
        self.stem = nn.Sequential(nn.Conv2d(channels, stem, stem_kernel, stem_stride), *norm, nn.ReLU())
        self.primary = PrimaryCapsules(stem, types1, pose, separate_activations=routing.separate_activations)
        self.convolutional = nn.Sequential(
            ConvolutionalCapsules(
                types1, types2, pose, routing, kernel=kernel, stride=capsule_stride, transform_sigma=sigmas[0]
            ),
            ConvolutionalCapsules(types2, types3, pose, routing, kernel=kernel, stride=1, transform_sigma=sigmas[1]),
        )
        self.classes = ClassCapsules(
            (grid[0], grid[1]),
            types3,
            classes,
            pose,
            pose[1],
            routing,
            shared=True,
            poses_read=reconstruction,
            coordinate_addition=coordinate_addition,
            transform_sigma=sigmas[2],
        )
        self.decoder = Decoder(classes * rows * rows, image, (hidden1, hidden2), reductions) if reconstruction else None

    def capsules(self, images: Tensor) -> Capsules:
        return self.classes(self.convolutional(self.primary(self.stem(self.reduction(images)))))


def compute_transform_factors(init: str, types: list[int], kernel: int, pose: tuple[int, int]) -> list[float]:
    """Returns the factors of sigma in the three layers of transformation matrices between four layers of these types."""
    if init == "preserving":
        # A pose above the primary layer is a mean of kernel^2 * types votes, which divides its variance by that number. A vote
        # sums as many products as a pose has columns, which multiplies the variance by pose[1].
        return [1.0, *(math.sqrt(kernel**2 * below / pose[1]) for below in types[:2])]
    if init == "glorot":
        positions = [kernel**2, kernel**2, 1]
        fans = [positions[i] * (types[i] + types[i + 1]) * pose[0] * pose[1] for i in range(3)]
        return [math.sqrt(2 / fan) for fan in fans]
    return [1.0, 1.0, 1.0]
