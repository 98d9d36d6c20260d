"""Gradients in the images, which attacks follow and training does not need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

MOST_CHANNELS = 3
"""The most input channels for which oneDNN is slower than torch's own kernel: those of grey and of colour images."""


@contextmanager
def bypass_onednn(network: nn.Module) -> Iterator[None]:
    """Lets torch's own kernel compute the gradient of a network's images on the CPU, instead of that of oneDNN.

    oneDNN fills its vectors with input channels, of which an image has one or three. With 32 filters of 9x9 pixels on a grey
    image it takes 4 times as long, with 256 filters 16 times. The order of the sums differs. All other gradients and all
    forward passes stay as they are.
    """
    enabled = torch.backends.mkldnn.enabled

    def disable(*_: Any) -> None:
        torch.backends.mkldnn.set_flags(_enabled=False)

    def restore(*_: Any) -> None:
        torch.backends.mkldnn.set_flags(_enabled=enabled)

    handles = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels <= MOST_CHANNELS:
            handles += [module.register_full_backward_pre_hook(disable), module.register_full_backward_hook(restore)]
    try:
        yield
    finally:
        restore()
        for handle in handles:
            handle.remove()
