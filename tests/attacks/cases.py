"""What tests of attacks share: every attack, a network with all that an attack could disturb, images at the bounds."""

import torch
from torch import nn

from capsbench.attacks.adapter import ATTACKS, Attack
from capsbench.attacks.threats import Threat


def every_attack(epsilon=0.2, steps=4):
    """Each attack under each threat and loss that it has."""
    for name, kind in ATTACKS.items():
        for threat, losses in kind.losses.items():
            size = 3 if threat is Threat.L0 else epsilon
            for loss in losses:
                yield Attack(name, threat, size if kind.bounded else 0.0, loss, steps)


EVERY = list(every_attack())
NAMES = [f"{attack.name}, {attack.threat}, {attack.loss}" for attack in EVERY]


def images_of(channels, count=6, side=8):
    """Images with pixels of exactly 0 and 1 among others."""
    images = torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0))
    images[:, :, 0], images[:, :, 1] = 0, 1
    return images


class Network(nn.Module):
    """With batch norm and dropout, whose training mode would change both what it gives and its own state."""

    def __init__(self, channels=1, classes=10, side=8):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.drop = nn.BatchNorm2d(channels), nn.Dropout(0.5)
        self.linear = nn.Linear(channels * side * side, classes)

    def forward(self, images):
        return self.linear(self.drop(self.norm(images).flatten(1)))


def labels_of(network, images):
    """What the network takes images for, so that there is something to attack."""
    network.eval()
    with torch.no_grad():
        return network(images).argmax(dim=1)


def accuracy(network, images, labels):
    return float((labels_of(network, images) == labels).double().mean())
