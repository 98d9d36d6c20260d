from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from capsbench.data.images import Images, Splits
from capsbench.measures import Subject
from capsbench.records.cell import Cell


@pytest.fixture
def subject() -> Callable[..., Subject]:
    """Makes a network ready to be measured, on images that serve as every split; `kept` gathers what it keeps."""

    def make(cell: Cell, network: nn.Module, images: torch.Tensor, labels: torch.Tensor, kept: Any = None) -> Subject:
        data = Images(images, labels)
        keep = {}.update if kept is None else kept.update
        return Subject(cell, network, Splits(data, data, data), keep, kept=lambda measure: {})

    return make
