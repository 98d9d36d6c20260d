"""What networks, routings and losses have in common, a user's own included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from torch import nn

from capsbench.errors import ArgumentError

if TYPE_CHECKING:
    from capsbench.stats.spaces import Space


Made = TypeVar("Made", bound=nn.Module)


def check_initialised(module: Made) -> Made:
    """Returns a module that was just made; raises TypeError if its ``__init__`` left out that of its base class."""
    if "_modules" not in vars(module):  # torch would fail at the first use of it, and not say why
        raise TypeError(f"{type(module).__name__}.__init__ does not call super().__init__")
    return module


class Component(nn.Module):
    """A torch module whose class declares things, such as its version or the name of a loss, by class attributes.

    An instance may have a layer of such a name: ``self.routing = routing(children, parents)`` in a network, whose class declares
    the name of its ``routing``. Raises ArgumentError for a layer of the name of a method.
    """

    version: ClassVar[int] = 1
    """Raised, in the class that changed, when a change alters what it gives: networks of an earlier version are then stale."""

    spaces: ClassVar[Mapping[str, Space]] = {}
    """Option, or field of the Cell, -> the values that `capsbench tune` draws from (`capsbench.stats.spaces`).

    An option without a space is not tuned; a field of the Cell has one of its own, which this one replaces.
    """

    later_options: ClassVar[frozenset[str]] = frozenset()
    """Options that came after networks were on record: a cell has one only if it is not the default, so that the identities of
    those networks stay."""

    def __setattr__(self, name: str, value: Any) -> None:
        declared = getattr(type(self), name, None)
        if isinstance(value, nn.Module) and callable(declared):
            raise ArgumentError(name, f"another name for a layer: it is a method of {type(self).__name__}", value)
        super().__setattr__(name, value)
        if isinstance(value, nn.Module) and declared is not None:
            # torch keeps layers where Python looks last, behind what the class declares.
            self.__dict__[name] = value
