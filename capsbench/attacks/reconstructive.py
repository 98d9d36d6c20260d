"""The reconstructive attack on detection by reconstruction (Qin, Frosst, Sabour, Raffel, Cottrell, Hinton 2020)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from capsbench.attacks.adapter import BATCH, preserve_state
from capsbench.attacks.gradients import bypass_onednn
from capsbench.attacks.readings import READINGS
from capsbench.networks.base import CapsuleNetwork


class Reconstructed(NamedTuple):
    """The outputs of a capsule network: activations ``[B, classes]`` and reconstructed images."""

    activations: Tensor
    images: Tensor

    def measure_distance(self, images: Tensor) -> Tensor:
        """Returns the L2 distances ``[B]`` between images ``[B, C, H, W]`` and their reconstructions."""
        return torch.linalg.vector_norm((self.images - images).flatten(1), dim=1)


def reconstruct_images(network: CapsuleNetwork, images: Tensor, but: Tensor | None = None) -> Reconstructed:
    """Reconstructs images from the most active class capsule, correct or not (Frosst 2018).

    Args:
        but: classes ``[B]`` to exclude when the most active capsule is chosen.
    """
    assert network.decoder is not None
    capsules = network.capsules(images)
    counted = capsules.activations.detach()
    if but is not None:
        counted = counted.scatter(1, but.unsqueeze(1), -torch.inf)
    decoded = network.decoder(capsules.poses, counted.argmax(dim=1))
    return Reconstructed(capsules.activations, decoded.to(images.dtype))


def attack_reconstruction(
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
    """Returns images within epsilon (L-infinity) that a network misclassifies and yet reconstructs well.

    The attack is projected gradient descent with two stages per step. The first follows the sign of the gradient of the
    cross-entropy (of the activations divided by their sum) by ``2 balance step``. The second follows that of the distance from
    the reconstruction by ``2 (1 - balance) step``. At ``balance`` 0.5, both stages have the step size of plain descent. The paper
    tunes the balance; its value could not be verified.

    The reconstruction comes from the most active capsule of another class. Once the network is fooled, that is the winning
    capsule, which detection uses. Before, the reconstruction from the winning capsule would lead back to the clean image.

    Of all images on the path that fool the network, the one with the smallest distance is returned, which is the best for the
    attacker. If none fools the network, the last image is returned.

    Args:
        network: a network in evaluation mode, with a decoder.
        images: ``[N, C, H, W]`` in [0, 1].
        labels: ``[N]``.
        seed: the seed of the random start, equal for all networks.
    """
    start = 2 * torch.rand(images.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double) - 1
    starts = (images + epsilon * start.to(images)).clamp(0, 1)
    with preserve_state(network), bypass_onednn(network):
        examples = [
            _attack_batch(network, *batch, epsilon, steps, (2 * balance * step, 2 * (1 - balance) * step))
            for batch in zip(images.split(BATCH), starts.split(BATCH), labels.split(BATCH), strict=True)
        ]
    return torch.cat(examples) if examples else images.clone()


def _attack_batch(
    network: CapsuleNetwork,
    images: Tensor,
    examples: Tensor,
    labels: Tensor,
    epsilon: float,
    steps: int,
    sizes: tuple[float, float],
) -> Tensor:
    best, least = examples, torch.full_like(images[:, 0, 0, 0], torch.inf)

    def keep_best(outputs: Reconstructed) -> None:
        nonlocal best, least
        distance = outputs.measure_distance(examples).detach()
        better = (outputs.activations.argmax(dim=1) != labels) & (distance < least)
        never = (least == torch.inf) & ~better
        least = torch.where(better, distance, least)
        best = torch.where((better | never)[:, None, None, None], examples.detach(), best)

    for _ in range(steps):
        for stage, size in enumerate(sizes):
            examples = examples.detach().requires_grad_()
            with torch.enable_grad():
                outputs = reconstruct_images(network, examples, but=labels)
                if stage == 0:
                    goal = F.cross_entropy(READINGS["share"](outputs.activations), labels, reduction="sum")
                else:
                    goal = -outputs.measure_distance(examples).sum()
                (gradient,) = torch.autograd.grad(goal, examples)
            keep_best(outputs)
            with torch.no_grad():
                moved = examples + size * gradient.sign()
                examples = torch.minimum(torch.maximum(moved, images - epsilon), images + epsilon).clamp(0, 1)
    with torch.no_grad():
        keep_best(reconstruct_images(network, examples, but=labels))
    return best.detach()
