"""Threat models, and their published bounds for each data set."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from capsbench.records.parts import dataset_of

if TYPE_CHECKING:
    from torch import Tensor

    from capsbench.records.cell import Cell


OWN_LOSS = "own loss"
"""Stands for the loss of an attack of a user's own."""


class Threat(StrEnum):
    """A threat model: the norm of the change that epsilon bounds, for pixels in [0, 1].

    - ``LINF``: the largest change of a value of a pixel
    - ``L2``: the root of the sum of squared changes of an image
    - ``L0``: the number of positions at which an image is changed, in any channel
    - ``BLACK_BOX``: LINF, for an attacker who sees scores but no gradients
    """

    LINF = "Linf"
    L2 = "L2"
    L0 = "L0"
    BLACK_BOX = "black box"

    @property
    def ball(self) -> Threat:
        """The threat with the same norm: LINF for BLACK_BOX, otherwise the threat itself."""
        return Threat.LINF if self is Threat.BLACK_BOX else self

    def measure_distance(self, images: Tensor, others: Tensor) -> Tensor:
        """Returns the distances ``[N]`` between images ``[N, C, H, W]`` and others in the norm of this threat."""
        difference = (images - others).flatten(2)
        if self is Threat.L0:
            return (difference != 0).any(dim=1).sum(dim=1).to(images.dtype)
        norms: Tensor = difference.flatten(1).norm(2 if self is Threat.L2 else math.inf, dim=1)
        return norms


class Bounds(NamedTuple):
    """The epsilons of a threat on a data set.

    - ``sweep``: all epsilons at which the worst case is measured, ascending, including the two below
    - ``published``: the epsilon of the literature, for adversarially trained networks
    - ``headline``: the epsilon at which readings, losses and networks are compared in full. It is smaller, because networks
      without adversarial training all fail at the published epsilon but differ at this one
    - ``steps``, ``step``: the steps of the published projected gradient descent, and their size as a fraction of epsilon
    """

    sweep: tuple[float, ...]
    published: float
    headline: float
    steps: int = 40
    step: float = 2.5 / 40


# Madry 2018: MNIST 0.3 with 40 steps of 0.01, CIFAR-10 8/255 with 20 steps of 2/255. Under L2 only CIFAR-10's 0.5 is verified.
_MNIST = {
    Threat.LINF: Bounds((0.025, 0.05, 0.1, 0.2, 0.3), 0.3, 0.05, 40, 1 / 30),
    Threat.L2: Bounds((0.25, 0.5, 1.0, 2.0), 2.0, 0.5),
}
_CIFAR = {
    Threat.LINF: Bounds((0.5 / 255, 1 / 255, 2 / 255, 4 / 255, 8 / 255), 8 / 255, 1 / 255, 20, 1 / 4),
    Threat.L2: Bounds((0.0625, 0.125, 0.25, 0.5), 0.5, 0.125),
}
_FASHION = {
    Threat.LINF: Bounds((0.0125, 0.025, 0.05, 0.1), 0.1, 0.025),
    Threat.L2: Bounds((0.25, 0.5, 1.0, 1.5), 1.5, 0.25),
}
_NORB = {  # Hinton 2018, section 6
    Threat.LINF: Bounds((0.025, 0.05, 0.1, 0.2), 0.2, 0.05),
    Threat.L2: Bounds((0.25, 0.5, 1.0, 2.0), 2.0, 0.5),
}

DEFAULT = {
    Threat.LINF: Bounds((0.025, 0.05, 0.1, 0.2), 0.1, 0.05),
    Threat.L2: Bounds((0.25, 0.5, 1.0, 1.5), 1.5, 0.5),
}
"""Bounds for a data set without published ones, such as digits or a user's own."""

PIXELS_CHANGED = Bounds((1, 3, 5), 1, 1)
"""Bounds under L0, for every data set (Su, Vargas, Sakurai 2019)."""

BY_DATA_SET: dict[str, dict[Threat, Bounds]] = {
    **dict.fromkeys(("mnist", "affnist", "affnist-full", "affine-mnist", "mnist-to-usps"), _MNIST),
    **dict.fromkeys(("fashion-mnist", "affine-fashion-mnist", "kmnist", "affine-kmnist"), _FASHION),
    **dict.fromkeys(("cifar10", "cifar10-24", "svhn"), _CIFAR),
    **dict.fromkeys(
        ("smallnorb", "smallnorb-mono", "smallnorb-new-toys", "smallnorb-azimuth", "smallnorb-elevation"), _NORB
    ),
    **dict.fromkeys(
        ("smallnorb-jpeg", "smallnorb-jpeg-new-toys", "smallnorb-jpeg-azimuth", "smallnorb-jpeg-elevation"), _NORB
    ),
}


def can_be_misled(cell: Cell) -> bool:
    """Returns True if a cell's network can be attacked: it classifies images that each show one of several classes."""
    dataset = dataset_of(cell)
    return cell.loss is not None and dataset.labels_an_image == 1 and dataset.classes > 1


def bounds_of(dataset: str, threat: Threat) -> Bounds:
    """Returns the bounds of a threat on a data set, by its name; unknown data sets have `DEFAULT`."""
    return PIXELS_CHANGED if threat is Threat.L0 else BY_DATA_SET.get(dataset, DEFAULT)[threat.ball]
