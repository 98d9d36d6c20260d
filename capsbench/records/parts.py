"""The parts of a cell: its data set and network, and its routing and loss if it has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from capsbench import registry
from capsbench.records.cell import Cell


@dataclass(frozen=True, order=True)
class Part:
    """A component by the kind that it is registered as and its name: ``routing em``, ``baseline resnet``."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @cached_property
    def component(self) -> Any:
        """The class, looked up once; raises UsageError as `capsbench.registry.get` does."""
        return registry.get(self.kind, self.name)


@dataclass(frozen=True)
class Parts:
    """The parts of a cell. Their names can be read without importing any of them, as for records that nobody trusts.

    ``routing`` is None for a CNN and for a network with an objective of its own; ``loss`` is None for the latter alone.
    """

    dataset: Part
    network: Part
    routing: Part | None = None
    loss: Part | None = None

    @classmethod
    def from_names(cls, dataset: str, network: str, routing: str | None, loss: str | None) -> Parts:
        """Returns the parts with these names."""
        return cls(
            Part("dataset", dataset),
            Part(registry.kind_of(network), network),
            None if routing is None else Part("routing", routing),
            None if loss is None else Part("loss", loss),
        )

    @classmethod
    def from_cell(cls, cell: Cell) -> Parts:
        """Returns the parts of a cell."""
        return cls.from_names(cell.dataset, cell.network, cell.routing, cell.loss)

    @property
    def by_field(self) -> dict[str, Part]:
        """Field of the Cell -> its part, without those that the cell lacks."""
        named = {"dataset": self.dataset, "network": self.network, "routing": self.routing, "loss": self.loss}
        return {field: part for field, part in named.items() if part is not None}

    def __iter__(self) -> Iterator[Part]:
        return iter(self.by_field.values())

    @property
    def has_routing(self) -> bool:
        """True for a network with routing between capsules, as `Cell.has_routing`."""
        return self.routing is not None

    @property
    def is_self_supervised(self) -> bool:
        """True for a network with an objective of its own."""
        return self.loss is None

    def digest_sources(self) -> dict[str, str]:
        """Returns field -> digest of the source, for a user's own parts."""
        digests = {field: registry.source_digest(part.kind, part.name) for field, part in self.by_field.items()}
        return {field: digest for field, digest in digests.items() if digest}

    def digest_modules(self) -> dict[str, dict[str, str]]:
        """Returns field -> module -> digest, from which `digest_sources` makes one digest each."""
        digests = {field: registry.source_parts(part.kind, part.name) for field, part in self.by_field.items()}
        return {field: modules for field, modules in digests.items() if modules}
