"""Keeps what a user's own measure does to the network and the images from the measures after it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from capsbench.data.images import Splits


class Guard:
    """The state of a network and of images before a measure.

    A measure that writes into the test images, as ``images[..., :4] = 0`` without a copy does, would change the numbers of all
    that are taken after it.

    Args:
        network: its weights and buffers are copied; modes and ``requires_grad`` are noted.
        data: the images and labels, whose changes torch counts.
    """

    def __init__(self, network: nn.Module, data: Splits) -> None:
        self._modes = [(module, module.training) for module in network.modules()]
        self._required = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
        tensors = [*network.parameters(), *network.buffers()]
        self._weights = [(tensor, tensor.detach().clone()) for tensor in tensors]
        self._versions = [(part, tensor, tensor._version) for part, tensor in _list_tensors(data)]

    def restore(self) -> list[str]:
        """Restores the network and returns what was changed: ``weights``, ``test images``; the images have to be loaded again.

        Modes, ``requires_grad`` and gradients are no change, since every measure sets what it needs.
        """
        changed = [] if all(_are_equal(tensor, copy) for tensor, copy in self._weights) else ["weights"]
        with torch.no_grad():
            for tensor, copy in self._weights if changed else ():
                tensor.data.copy_(copy)
        for module, mode in self._modes:
            module.training = mode
        for parameter, required in self._required:
            parameter.requires_grad_(required)
            parameter.grad = None
        return [*changed, *(part for part, tensor, version in self._versions if tensor._version != version)]


def _list_tensors(data: Splits) -> list[tuple[str, Tensor]]:
    """Returns the tensors of the images that are in memory, with the names of their parts."""
    named = [
        (f"{part} {name}", tensor)
        for part, images in data.by_name().items()
        for name, tensor in (("images", images.images), ("labels", images.labels))
    ]
    return [(name, tensor) for name, tensor in named if isinstance(tensor, Tensor) and not tensor.is_inference()]


def _are_equal(tensor: Tensor, copy: Tensor) -> bool:
    """Returns true if all numbers are the same; NaN is."""
    if tensor.shape != copy.shape or tensor.dtype != copy.dtype:
        return False
    return torch.equal(tensor, copy) or bool(((tensor == copy) | ((tensor != tensor) & (copy != copy))).all())
