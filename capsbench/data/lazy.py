"""Imports torch at its first use, since `capsbench data list` describes data sets without it, and torch takes seconds to import.

The modules of the data room that a data set's class needs have ``torch`` and ``torch.nn.functional`` from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any


class _LazyModule:
    """Stands for a module, and imports it when one of its attributes is read."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


if TYPE_CHECKING:
    import torch as torch
    from torch.nn import functional as functional
else:
    torch = _LazyModule("torch")
    functional = _LazyModule("torch.nn.functional")
