"""What the harness asks of a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from capsbench.component import Component
from capsbench.data.images import Augmentation, Batch, ImageShape
from capsbench.errors import ArgumentError
from capsbench.networks.layers import Capsules, Decoder


class CapsuleNetwork(Component, ABC):
    """Base class of a capsule network: images to class capsules, and from them to scores and a reconstruction.

    A subclass takes ``(image, classes, routing, *, reconstruction, ...)``; its further keyword-only arguments are the
    options of the network, their defaults those of the paper, and `sizes` the values they take at each ``--size``.
    """

    loss: ClassVar[str] = "margin"
    """The loss the paper trains it with."""

    routing: ClassVar[str] = "dynamic"
    """The routing it is used with when the user names none."""

    decoder: Decoder | None
    """What reconstructs the image in training, if anything does: class poses and the classes to keep, ``[B]`` or ``[B, K]``."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = None

    @classmethod
    def sizes(cls, image: ImageShape) -> dict[str, dict[str, Any]]:
        """The options that make each size, for images of this shape; ``paper`` is the published network."""
        return {"paper": {}}

    @classmethod
    def recipe(cls, size: str) -> dict[str, Any]:
        """The fields of a Cell about training (learning rate, schedule, batch, ...) that this network wants at a size."""
        return {}

    @abstractmethod
    def capsules(self, images: Tensor) -> Capsules:
        """Images ``[B, C, H, W]`` to class poses ``[B, classes, R, E]`` and class activations ``[B, classes]``."""

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[B, C, H, W]`` to class activations ``[B, classes]`` in [0, 1], the scores of a capsule network."""
        return self.capsules(images).activations


class SelfSupervised(Component, ABC):
    """Base class of a network that is trained on an objective of its own rather than on classes.

    It is built as a CNN is, from ``(image, classes, **options)``, and tells its ``sizes`` and its ``recipe`` as a
    `CapsuleNetwork` does.
    """

    @classmethod
    def sizes(cls, image: ImageShape) -> dict[str, dict[str, Any]]:
        """As `CapsuleNetwork.sizes`."""
        return {"paper": {}}

    @classmethod
    def recipe(cls, size: str) -> dict[str, Any]:
        """As `CapsuleNetwork.recipe`."""
        return {}

    @abstractmethod
    def augmentations(self) -> tuple[Augmentation, ...]:
        """What makes a target of each image, in training and in validation."""

    @abstractmethod
    def objective(self, batch: Batch) -> Tensor:
        """The loss of a batch, the mean over its images."""


def is_self_supervised(network: Any) -> bool:
    """Whether what a network's name stands for is trained on an objective of its own."""
    return isinstance(network, type) and issubclass(network, SelfSupervised)


def after(side: int, kernel: int, stride: int) -> int:
    """The side of a grid after a convolution without padding; raises ArgumentError where nothing is left."""
    if side < kernel:
        expected = f"{kernel} or more for a {kernel}x{kernel} kernel on what is left of the image"
        raise ArgumentError("side", expected, side)
    return (side - kernel) // stride + 1
