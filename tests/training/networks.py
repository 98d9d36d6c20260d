"""Networks that the tests of training share."""

import torch
from torch import nn


class Line(nn.Module):
    """Two logits, a plain linear function of the first pixel."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 2)

    def forward(self, images):
        return self.layer(images[:, 0, 0, :1])


class Scripted(nn.Module):
    """Classifies a given share of ten images correctly after each epoch, and counts epochs in its state."""

    def __init__(self, accuracies):
        super().__init__()
        self.accuracies = accuracies
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    def forward(self, images):
        if self.training:
            return self.weight * torch.ones(len(images), 2)
        right = torch.arange(len(images)) < self.accuracies[self.epochs] * len(images)
        self.epochs += 1
        return torch.stack([right.float(), 1 - right.float()], dim=1)
