"""The reconstructive attack on detection by reconstruction (Qin, Frosst, Sabour, Raffel, Cottrell, Hinton 2020)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from capsbench.attacks.adapter import BATCH
from capsbench.attacks.readings import READINGS
from capsbench.networks.base import CapsuleNetwork


class Reconstructed(NamedTuple):
    """What a capsule network makes of images: activations ``[B, classes]``, and images by the decoder."""

    activations: Tensor
    images: Tensor

    def distance(self, images: Tensor) -> Tensor:
        """The L2 distance of images ``[B, C, H, W]`` from what was made of them, ``[B]``."""
        return torch.linalg.vector_norm((self.images - images).flatten(1), dim=1)


def reconstructed(network: CapsuleNetwork, images: Tensor, but: Tensor | None = None) -> Reconstructed:
    """Images as the decoder makes them of the class capsule that wins, whether or not it should (Frosst 2018).

    Args:
        but: classes ``[B]`` that do not count: of the others, the one whose capsule is most active.
    """
    assert network.decoder is not None
    capsules = network.capsules(images)
    counted = capsules.activations.detach()
    if but is not None:
        counted = counted.scatter(1, but.unsqueeze(1), -torch.inf)
    made = network.decoder(capsules.poses, counted.argmax(dim=1))
    return Reconstructed(capsules.activations, made.to(images.dtype))


def reconstructive(
    network: CapsuleNetwork,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int,
    step: float,
    seed: int,
    balance: float = 0.5,
) -> Tensor:
    """Images within epsilon (L-infinity) that a network takes for another class and yet reconstructs well.

    Projected gradient descent with two stages a step: one by the sign of the gradient of the cross-entropy (of the activations
    divided by their sum), as far as ``2 balance step``, then one by that of the distance from the reconstruction, as far as
    ``2 (1 - balance) step``. So at ``balance`` 0.5 either stage has the step of plain descent; the paper tunes this, and its
    value could not be checked.

    The reconstruction is that of the most active capsule of another class. Once the network is fooled it is that of the winning
    one, which is what detection looks at; until then the winning one's would lead back to where the image came from.

    An image becomes, of all those on its way that fool the network, the one of the least distance, which is the best for the
    attacker; the last where none does.

    Args:
        network: in evaluation mode, with a decoder.
        images: ``[N, C, H, W]`` in [0, 1].
        labels: ``[N]``.
        seed: of the random start, the same for every network.
    """
    start = 2 * torch.rand(images.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double) - 1
    starts = (images + epsilon * start.to(images)).clamp(0, 1)
    found = [
        _attacked(network, *each, epsilon, steps, (2 * balance * step, 2 * (1 - balance) * step))
        for each in zip(images.split(BATCH), starts.split(BATCH), labels.split(BATCH), strict=True)
    ]
    return torch.cat(found) if found else images.clone()


def _attacked(
    network: CapsuleNetwork,
    images: Tensor,
    found: Tensor,
    labels: Tensor,
    epsilon: float,
    steps: int,
    sizes: tuple[float, float],
) -> Tensor:
    best, least = found, torch.full_like(images[:, 0, 0, 0], torch.inf)

    def keep(made: Reconstructed) -> None:
        nonlocal best, least
        distance = made.distance(found).detach()
        better = (made.activations.argmax(dim=1) != labels) & (distance < least)
        never = (least == torch.inf) & ~better
        least = torch.where(better, distance, least)
        best = torch.where((better | never)[:, None, None, None], found.detach(), best)

    for _ in range(steps):
        for stage, size in enumerate(sizes):
            found = found.detach().requires_grad_()
            with torch.enable_grad():
                made = reconstructed(network, found, but=labels)
                if stage == 0:
                    goal = F.cross_entropy(READINGS["share"](made.activations), labels, reduction="sum")
                else:
                    goal = -made.distance(found).sum()
                (gradient,) = torch.autograd.grad(goal, found)
            keep(made)
            with torch.no_grad():
                moved = found + size * gradient.sign()
                found = torch.minimum(torch.maximum(moved, images - epsilon), images + epsilon).clamp(0, 1)
    with torch.no_grad():
        keep(reconstructed(network, found, but=labels))
    return best.detach()
