"""Networks that libraries have, ``timm:resnet18`` and ``torchvision:resnet18``, and functions that make networks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import FunctionType

SCHEMES = {
    "timm": "capsbench.networks.libraries:from_timm",
    "torchvision": "capsbench.networks.libraries:from_torchvision",
}
"""The library, which is the prefix of the name -> the function that finds a network in it."""


def is_network(name: str) -> bool:
    """Returns true for the name of a library's network."""
    library, colon, _ = name.partition(":")
    return bool(colon) and library in SCHEMES


def name_of(network: str) -> str:
    """Returns the name that a network has in its library."""
    return network.partition(":")[2]


def read_version(network: str) -> dict[str, str]:
    """Returns the library -> its version, which is ``absent`` if it is not installed.

    The part behind a ``+`` is left out: it names the build, for a CPU or a version of CUDA, and not the network.
    """
    library = network.partition(":")[0]
    try:
        return {library: version(library).partition("+")[0]}
    except PackageNotFoundError:
        return {library: "absent"}


def describe_version(network: str) -> str:
    """Returns the library of a network with its version, ``timm 1.0.31``."""
    return " ".join(f"{library} {number}" for library, number in read_version(network).items())


def makes_networks(component: object) -> bool:
    """Returns true for a function whose arguments are those that make a network: ``image`` and ``classes``, or ``num_classes``.

    No other function is called, such as one that runs commands and that a suite of a stranger names.
    """
    return type(component) is FunctionType and has_arguments(component)


def has_arguments(component: Callable[..., object]) -> bool:
    """Returns true for a function or class with the arguments ``image`` and ``classes``, or ``num_classes``."""
    arguments = inspect.signature(component).parameters.keys()
    return "num_classes" in arguments or {"image", "classes"} <= arguments
