import pytest
import torch
from torch import nn
from torch.nn import functional as F

from capsbench.data.images import Images
from capsbench.data.sets.digits import Digits


@pytest.fixture(scope="session")
def digits() -> Images:
    """60 test images, in [0, 1]."""
    test = Digits().load(None).test
    return Images(test.images[:60], test.labels[:60])


@pytest.fixture(scope="session")
def honest() -> nn.Module:
    """A small CNN, trained on digits for seconds, that hides nothing."""
    train = Digits().load(None).train
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(12):
        for which in torch.randperm(len(train.labels)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(train.images[which]), train.labels[which]).backward()
            optimizer.step()
    return network.eval()
