"""Features of networks: the poses of capsules, and the input of the last layer of a CNN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from capsbench.networks.base import CapsuleNetwork


def compute_features(network: nn.Module, images: Tensor) -> Tensor:
    """Returns the features ``[B, F]`` of images ``[B, C, H, W]``, by a pass in the mode and with the gradients of the caller.

    They are the poses of all class capsules, or the input of the last layer with weights of a CNN, a feature map by its mean over
    positions. F is 0 where class capsules have no poses.
    """
    if isinstance(network, CapsuleNetwork):
        return network.capsules(images).poses.flatten(1)
    with last_input(network) as held:
        scores: Tensor = network(images)
        layer = held[0] if held else scores[:, :0]
    return layer.flatten(2).mean(dim=2) if layer.dim() > 2 else layer


@contextmanager
def last_input(network: nn.Module) -> Iterator[list[Tensor]]:
    """Keeps the input of the last linear layer or convolution of a CNN: after a pass, its penultimate layer."""
    inputs: list[Tensor] = []

    def hold_input(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs[:] = arguments[:1]

    handles = [
        module.register_forward_pre_hook(hold_input)
        for module in network.modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and not isinstance(network, CapsuleNetwork)
    ]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()
