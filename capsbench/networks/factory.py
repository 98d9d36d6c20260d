"""Networks that a function makes: a user's own, and those that libraries have."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

CLASSES = "num_classes"
"""The name of the only required argument of a function that needs no image."""


class Factory:
    """Makes networks as the class of a baseline does, from a function ``(image, classes)`` or one with ``num_classes``.

    The network is the same at every ``--size``. Arguments with a default are options, as those of a class.

    Args:
        make: a function or class that returns the untrained network, which maps images ``[B, C, H, W]`` to ``[B, classes]``.
    """

    def __init__(self, make: Callable[..., nn.Module]) -> None:
        self.make = make
        self.__doc__ = inspect.getdoc(make)
        parameters = [*inspect.signature(make).parameters.values()]
        self.takes_classes_alone = any(parameter.name == CLASSES for parameter in parameters)
        options = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in parameters
            if parameter.default is not inspect.Parameter.empty and parameter.name not in (CLASSES, "image", "classes")
        ]
        self.__signature__ = inspect.Signature(options)

    def sizes(self, image: Any) -> dict[str, dict[str, Any]]:
        """Returns no options for any size."""
        return {"tiny": {}, "small": {}, "paper": {}}

    def __call__(self, image: Any, classes: int, **options: Any) -> nn.Module:
        """Makes the network; on the meta device it has shapes without weights."""

        def make_network() -> nn.Module:
            if self.takes_classes_alone:
                return self.make(**{CLASSES: classes}, **options)
            return self.make(image, classes, **options)

        network: object = make_anywhere(make_network)
        if not isinstance(network, nn.Module):
            raise TypeError(f"expected a torch.nn.Module, got a {type(network).__name__}")
        return network


def make_anywhere(make_network: Callable[[], nn.Module]) -> nn.Module:
    """Makes a network on the default device; for the meta device, one that reads its tensors is made on the CPU first."""
    if torch.get_default_device().type != "meta":
        return make_network()
    try:
        return make_network()
    except (NotImplementedError, RuntimeError):  # raised by tensors without data
        with torch.random.fork_rng([]), torch.device("cpu"):
            return make_network().to("meta")
