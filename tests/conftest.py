from collections.abc import Callable
from typing import Any

import pytest

from capsbench.cell import Cell
from capsbench.matrix import cells_of


@pytest.fixture
def make_cell() -> Callable[..., Cell]:
    """Makes one complete cell: dynamic routing in a tiny CapsNet on the CPU, unless the request says otherwise."""

    def make(**request: Any) -> Cell:
        (cell,) = cells_of({"routing": "dynamic", "seeds": 0, "device": "cpu", "baseline": "none", **request})
        return cell

    return make
