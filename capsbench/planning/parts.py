"""Chooses the parts of a point of the matrix: its network, routing and loss where the user left them open.

A point is a mapping from fields of the Cell to the values asked for; a field that is still open is None or absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from capsbench import registry
from capsbench.data.images import ANY_NUMBER
from capsbench.errors import Kind, UsageError
from capsbench.networks.base import CapsuleNetwork, is_self_supervised
from capsbench.records.parts import Part, Parts

ANY_NUMBER_LOSS = "sigmoid"
"""The loss of a network on images of any number of classes, if its own is not defined for them."""


def choose_parts(point: Mapping[str, Any]) -> Parts:
    """Returns the parts of a point; ``dataset``, ``network`` and ``routing`` must be in it."""
    network, routing = choose_network(point["network"], point["routing"])
    part = Part(registry.kind_of(network), network)
    loss = None if is_self_supervised(part.component) else point.get("loss") or _read_partner(part, "loss")
    return Parts.from_names(point["dataset"], network, routing, loss)


def _read_partner(part: Part, kind: str) -> str:
    """Returns the name of the routing, network or loss that a component declares to be used with, where the user names none.

    Raises:
        UsageError: a user's own component declares one that does not exist.
    """
    name = getattr(part.component, kind, "cross-entropy" if kind == "loss" else "")
    if registry.find_shipped(part.kind, part.name) is not None:
        return str(name)
    try:
        if not isinstance(name, str):
            raise UsageError(Kind.INVALID, expected="a name", value=name)
        registry.trust([name])  # the user named the component, whose code has run
        registry.get(kind, name)
    except UsageError as error:
        problem = f"the {kind} that its class declares: {error}"
        raise UsageError(Kind.CONFLICT, problem, flag=part.flag, value=part.name) from error
    return name


def fit_loss(parts: Parts, point: Mapping[str, Any]) -> Parts:
    """Returns parts whose loss is defined for images of any number of classes, if these are such and the user names no loss.

    A network whose own loss needs one class an image, such as spread or cross-entropy, is then trained with `ANY_NUMBER_LOSS`.
    """
    if parts.loss is None or point.get("loss") or parts.data.labels_an_image != ANY_NUMBER:
        return parts
    return parts if parts.loss.component.any_number else replace(parts, loss=Part("loss", ANY_NUMBER_LOSS))


def choose_network(network: str | None, routing: str | None) -> tuple[str, str | None]:
    """Returns the network and the routing of a point: each names its own partner if that is left open.

    A baseline has no routing, whatever was asked for.
    """
    if network is None:
        return _read_partner(Part("routing", routing or ""), "network"), routing
    if is_baseline(network):
        return network, None
    return network, routing or _read_partner(Part("network", network), "routing")


def is_baseline(network: str, flag: str = "network") -> bool:
    """Returns true for a network without routing: a CNN, or a network with an objective of its own.

    Args:
        flag: the flag that named it.
    """
    if registry.kind_of(network) == "baseline":
        return True
    if ":" in network or network in registry.names("network"):
        component = registry.get("network", network, flag)
        return not (isinstance(component, type) and issubclass(component, CapsuleNetwork))
    known = [
        *registry.names("network"),
        *registry.names("baseline"),
        *registry.name_schemes("baseline"),
        registry.YOUR_OWN,
    ]
    raise UsageError(Kind.UNKNOWN, flag="network", value=network, expected=known)
