"""The base classes of networks: the interface between a network and the harness."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from capsbench.component import Component
from capsbench.data.images import Augmentation, Batch, ImageShape
from capsbench.errors import ArgumentError
from capsbench.networks.layers import Capsules, Decoder


class CapsuleNetwork(Component, ABC):
    """Base class of capsule networks, which map images to class capsules, scores and a reconstruction.

    A subclass takes ``(image, classes, routing, *, reconstruction, ...)``. Its other keyword-only arguments are the options of
    the network. Their defaults are those of the paper; `sizes` returns their values at each ``--size``.
    """

    loss: ClassVar[str] = "margin"
    """The paper's training loss."""

    routing: ClassVar[str] = "dynamic"
    """The default routing, for when the user names none."""

    decoder: Decoder | None
    """The decoder that reconstructs the image from class poses and the classes to keep (``[B]``, ``[B, K]``, or a mask ``[B,
    classes]``), or None."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = None

    @classmethod
    def sizes(cls, image: ImageShape) -> dict[str, dict[str, Any]]:
        """Returns the options of each size, for images of this shape; ``paper`` is the published network."""
        return {"paper": {}}

    @classmethod
    def recipe(cls, size: str) -> dict[str, Any]:
        """Returns training fields of a Cell (learning rate, schedule, batch, ...) whose default this network sets at a size."""
        return {}

    @abstractmethod
    def capsules(self, images: Tensor) -> Capsules:
        """Maps images ``[B, C, H, W]`` to class poses ``[B, classes, R, E]`` and class activations ``[B, classes]``."""

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[B, C, H, W]`` to class activations ``[B, classes]`` in [0, 1], the scores of a capsule network."""
        return self.capsules(images).activations


class SelfSupervised(Component, ABC):
    """Base class of networks that define their own objective and are not trained on classes.

    Such a network is built like a CNN, from ``(image, classes, **options)``. It has ``sizes`` and a ``recipe`` like a
    `CapsuleNetwork`.
    """

    @classmethod
    def sizes(cls, image: ImageShape) -> dict[str, dict[str, Any]]:
        """Returns the options of each size, as `CapsuleNetwork.sizes` does."""
        return {"paper": {}}

    @classmethod
    def recipe(cls, size: str) -> dict[str, Any]:
        """Returns training fields of a Cell, as `CapsuleNetwork.recipe` does."""
        return {}

    @abstractmethod
    def augmentations(self) -> tuple[Augmentation, ...]:
        """Returns the augmentations that make a target of each image, in training and in validation."""

    @abstractmethod
    def objective(self, batch: Batch) -> Tensor:
        """Returns the loss of a batch, the mean over its images."""


def is_self_supervised(network: Any) -> bool:
    """Returns True for a class of networks that define their own objective."""
    return isinstance(network, type) and issubclass(network, SelfSupervised)


def shrink_side(side: int, kernel: int, stride: int) -> int:
    """Returns the side of a grid after a convolution without padding; raises ArgumentError if nothing is left."""
    if side < kernel:
        expected = f"{kernel} or more for a {kernel}x{kernel} kernel on the remaining feature map"
        raise ArgumentError("side", expected, side)
    return (side - kernel) // stride + 1
