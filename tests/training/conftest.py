"""What the tests of training share: small data sets, and networks whose weights a cell's seed draws."""

from pathlib import Path

import pytest
import torch

from capsbench.data.base import load_splits
from capsbench.data.images import Images, Splits
from capsbench.networks.build import build_network


@pytest.fixture(scope="module")
def digits():
    return load_splits("digits", Path(), train_size=64)


@pytest.fixture(scope="module")
def blank():
    """Ten 2x2 images of class 0 in every split."""
    images = Images(torch.zeros(10, 1, 2, 2), torch.zeros(10, dtype=torch.int64))
    return Splits(images, images, images)


@pytest.fixture
def make_network():
    """The network of a cell, its weights drawn from the cell's seed."""

    def make(cell):
        torch.manual_seed(cell.seed)
        return build_network(cell)

    return make
