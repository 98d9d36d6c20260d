from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from capsbench.cell import Cell
from capsbench.data.base import Images, Splits
from capsbench.measures import Subject


@pytest.fixture
def subject() -> Callable[..., Subject]:
    """Makes a network ready to be measured, on images that serve as every split; `kept` gathers what it keeps."""

    def make(cell: Cell, network: nn.Module, images: torch.Tensor, labels: torch.Tensor, kept: Any = None) -> Subject:
        data = Images(images, labels)
        keep = {}.update if kept is None else kept.update
        return Subject(cell, network, Splits(data, data, data), keep, kept=lambda measure: {})

    return make
