"""Reads what a routing declares of itself, for tests that write it down once more."""

import inspect

from capsbench.routing import Routing

FLAGS = ("network", "separate_activations", "across_windows", "iterative", "activations_need_votes", "continues")


def read_flags(routing):
    """Returns the class attributes that differ from those of `Routing`, whose own `test_base.py` has."""
    return {name: getattr(routing, name) for name in FLAGS if getattr(routing, name) != getattr(Routing, name)}


def read_defaults(routing):
    """Returns the defaults of its arguments."""
    parameters = inspect.signature(routing.__init__).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


def draw_all_from(sigma):
    """Returns the presets of a routing whose transformation matrices every size draws from N(0, sigma^2)."""
    return {size: {"network.transform_sigma": sigma} for size in ("tiny", "small", "paper")}
