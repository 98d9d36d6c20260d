"""Transforming auto-encoder (Hinton, Krizhevsky, Wang 2011, "Transforming Auto-encoders", section 2)."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from capsbench.data.images import Augmentation, Batch, ImageShape
from capsbench.data.pairs import AffinePairs, Pairs, ShiftPairs
from capsbench.errors import ArgumentError, check_choice
from capsbench.networks.base import SelfSupervised
from capsbench.networks.layers import Capsules


class TransformingNetwork(SelfSupervised):
    """Base class of networks that map an image and a transformation to the transformed image.

    Args:
        transform: ``shift`` or ``affine``, the family of transformations.
        reach: the largest shift or translation of images and targets, in pixels.
    """

    def __init__(self, transform: str, reach: int) -> None:
        super().__init__()
        check_choice("transform", transform, ("shift", "affine"))
        self.pairs: Pairs = ShiftPairs(reach) if transform == "shift" else AffinePairs(reach)

    @classmethod
    def recipe(cls, size: str) -> dict[str, Any]:
        # The pairs already contain shifts, so another shift would only widen their range. The paper does not state a learning
        # rate; this one was the best for both networks among 0.002, 0.005, 0.01 and 0.02 on 6,000 images of MNIST.
        return {"shift": 0, "learning_rate": 0.01}

    def augmentations(self) -> tuple[Augmentation, ...]:
        return (self.pairs,)

    def objective(self, batch: Batch) -> Tensor:
        """Returns the sum of squared pixel errors, averaged over images."""
        errors = self(batch.images, batch.transforms) - batch.targets
        return errors.square().sum(dim=(1, 2, 3)).mean()

    @abstractmethod
    def forward(self, images: Tensor, transforms: Tensor | None = None) -> Tensor:
        """Maps images ``[B, C, H, W]`` and transforms ``[B, *]``, the identity if None, to images ``[B, C, H, W]``."""


class TransformingAutoencoder(TransformingNetwork):
    """Transforming auto-encoder of Hinton, Krizhevsky and Wang 2011: a known transformation of the poses transforms the image.

    Every capsule sees the whole image. Its logistic recognition units compute the probability p that its entity is present, and
    its pose. The pose is a position (x, y), to which a shift is added, or a 3x3 matrix, which is multiplied by the affine matrix.
    From the transformed pose, generation units compute the capsule's contribution to the image, which is multiplied by p. The
    image is the sum of all contributions.

    The defaults are those of the paper's shifts by -2 to 2 pixels; size ``paper-affine`` has those of its affine transformations.
    Choices that the paper does not specify: generation units are logistic, each pixel has a bias, errors are squared, weights
    are initialised as in torch's linear layers, and affine transformations are those of `AffinePairs`.

    Args:
        transform: ``shift`` or ``affine``.
        reach: the largest shift or translation of images and targets, in pixels.
        capsules: number of capsules.
        recognition, generation: number of recognition and generation units per capsule.
        pixels: ``linear`` or ``logistic``; not stated in the paper.
        pose_scale: multiplies the initial weights of the poses, so that poses spread over several pixels from the start. With 1,
            poses follow the images half as well.
    """

    @classmethod
    def sizes(cls, image: ImageShape) -> dict[str, dict[str, Any]]:
        reach = 2 if min(image.height, image.width) >= 20 else 1
        return {
            "tiny": dict(reach=reach, capsules=10),
            "small": dict(reach=reach, capsules=20),
            "paper": {},
            "paper-affine": dict(transform="affine", capsules=25, recognition=40, generation=40),
        }

    def __init__(
        self,
        image: ImageShape,
        classes: int,
        *,
        transform: str = "shift",
        reach: int = 2,
        capsules: int = 30,
        recognition: int = 10,
        generation: int = 20,
        pixels: str = "linear",
        pose_scale: float = 6.0,
    ) -> None:
        super().__init__(transform, reach)
        check_choice("pixels", pixels, ("linear", "logistic"))
        for name, count in (("capsules", capsules), ("recognition", recognition), ("generation", generation)):
            if count < 1:
                raise ArgumentError(name, "1 or more", count)
        values, numbers = math.prod(image), math.prod(self.pairs.pose)
        self.recognition = nn.Sequential(
            nn.Flatten(),
            nn.Linear(values, capsules * recognition),
            nn.Sigmoid(),
            nn.Unflatten(1, (capsules, recognition)),
        )
        self.instantiation = CapsuleLinear(capsules, recognition, 1 + numbers)
        with torch.no_grad():
            self.instantiation.weights[:, :, 1:].mul_(pose_scale)
        self.generation = nn.Sequential(CapsuleLinear(capsules, numbers, generation), nn.Sigmoid())
        self.pixels = nn.Sequential(
            nn.Linear(capsules * generation, values),
            nn.Sigmoid() if pixels == "logistic" else nn.Identity(),
            nn.Unflatten(1, image),
        )

    def capsules(self, images: Tensor) -> Capsules:
        """Maps images ``[B, C, H, W]`` to poses ``[B, capsules, *pose]`` and probabilities of presence p ``[B, capsules]``."""
        presence, poses = self.instantiation(self.recognition(images)).tensor_split([1], dim=2)
        return Capsules(poses.unflatten(2, self.pairs.pose), torch.sigmoid(presence.squeeze(2)))

    def generate_images(self, capsules: Capsules) -> Tensor:
        """Generates images ``[B, C, H, W]`` from the poses and the presence of capsules."""
        # The pixels are linear in the units, so one matrix product adds the contributions of all capsules.
        units = self.generation(capsules.poses.flatten(2))
        images: Tensor = self.pixels((units * capsules.activations.unsqueeze(2)).flatten(1))
        return images

    def forward(self, images: Tensor, transforms: Tensor | None = None) -> Tensor:
        poses, presence = self.capsules(images)
        transforms = self.pairs.make_identity(images) if transforms is None else transforms
        return self.generate_images(Capsules(self.pairs.move_poses(poses, transforms), presence))


class CapsuleLinear(nn.Module):
    """A separate linear layer for each capsule, from ``[B, capsules, before]`` to ``[B, capsules, after]``."""

    def __init__(self, capsules: int, before: int, after: int) -> None:
        super().__init__()
        bound = before**-0.5  # as in torch's linear layers
        self.weights = nn.Parameter(torch.empty(capsules, before, after).uniform_(-bound, bound))
        self.biases = nn.Parameter(torch.empty(capsules, after).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        return torch.einsum("bci,cij->bcj", values, self.weights) + self.biases
