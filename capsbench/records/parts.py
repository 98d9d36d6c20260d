"""The parts of a cell: its data set and network, and its routing and loss if it has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from capsbench import registry
from capsbench.errors import FOREIGN, Kind, UsageError
from capsbench.records.cell import Cell, Scalar
from capsbench.sources import describe_error, locations


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

    @property
    def flag(self) -> str:
        """The flag that names it, which networks and baselines share."""
        return "network" if self.kind == "baseline" else self.kind

    def read(self, declared: str, read: Callable[[Any], Any]) -> Mapping[str, Any]:
        """Returns a dictionary that the component declares.

        Args:
            declared: what it is, as in the source: ``sizes(image)``.
            read: reads it from the component.

        Raises:
            UsageError: a user's own component raises, or declares another type.
        """
        try:
            value = read(self.component)
        except UsageError:
            raise
        except FOREIGN as error:
            if registry.find_shipped(self.kind, self.name) is not None:
                raise
            problem = f"its {declared} cannot be read: {describe_error(error)}"
            raise UsageError(Kind.CONFLICT, problem, flag=self.flag, value=self.name) from error
        if not isinstance(value, Mapping):
            problem = f"its {declared} is a {type(value).__name__}"
            raise UsageError(Kind.CONFLICT, problem, flag=self.flag, value=self.name, expected="expected a dictionary")
        return value


@dataclass(frozen=True)
class Parts:
    """The parts of a cell. Their names can be read without importing any of them, as for records that nobody trusts.

    ``routing`` is None for a CNN and for a network with an objective of its own; ``loss`` is None for the latter alone.
    """

    dataset: Part
    network: Part
    routing: Part | None = None
    loss: Part | None = None
    dataset_options: Mapping[str, Scalar] = field(default_factory=dict)
    described: Any = None
    """What a record says of images that may not be here, in place of the data set."""

    @classmethod
    def from_names(
        cls,
        dataset: str,
        network: str,
        routing: str | None,
        loss: str | None,
        dataset_options: Mapping[str, Scalar] = MappingProxyType({}),
    ) -> Parts:
        """Returns the parts with these names."""
        return cls(
            Part("dataset", dataset),
            Part(registry.kind_of(network), network),
            None if routing is None else Part("routing", routing),
            None if loss is None else Part("loss", loss),
            dataset_options,
        )

    @classmethod
    def from_cell(cls, cell: Cell) -> Parts:
        """Returns the parts of a cell."""
        return cls.from_names(cell.dataset, cell.network, cell.routing, cell.loss, cell.component_options("dataset"))

    @property
    def data(self) -> Any:
        """The data set with its options, as `open_dataset` returns it, or what a record says of it."""
        if self.described is not None:
            return self.described
        return open_dataset(self.dataset.name, self.dataset_options)

    @property
    def by_field(self) -> dict[str, Part]:
        """Field of the Cell -> its part, without those that the cell lacks."""
        named = {"dataset": self.dataset, "network": self.network, "routing": self.routing, "loss": self.loss}
        return {field: part for field, part in named.items() if part is not None}

    def of(self, option: str) -> Part:
        """Returns the part of an option by its full name, ``routing.beta``."""
        return self.by_field[option.partition(".")[0]]

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


def find_own_folders(cells: Iterable[Cell]) -> set[Path]:
    """Returns the folders of the modules of a user's own components."""
    parts = {part for cell in cells for part in Parts.from_cell(cell)}
    return {folder for part in parts if (folder := registry.folder_of(part.kind, part.name)) is not None}


def dataset_of(cell: Cell) -> Any:
    """Returns the data set of a cell with its options: what it declares of its images, and their loader."""
    return open_dataset(cell.dataset, cell.component_options("dataset"))


def open_dataset(name: str, options: Mapping[str, Scalar] = MappingProxyType({})) -> Any:
    """Returns a data set by its name, with some options: an object of a subclass of `capsbench.data.base.Dataset`.

    A folder or file of images is looked through once, until `forget_datasets`.

    Raises:
        UsageError: the name is unknown; or the data set cannot be made with these options.
    """
    component = registry.get("dataset", name)
    if not locations.split_scheme(name)[0]:
        return _make_dataset(name, lambda: component(**options))
    path = locations.path_of(name)
    key = name, path, *sorted(options.items())
    if key not in _opened:
        _opened[key] = _make_dataset(name, lambda: component(path, **options))
    return _opened[key]


def forget_datasets() -> None:
    """Has folders and files of images looked through again, which may have changed."""
    _opened.clear()


_opened: dict[tuple[object, ...], Any] = {}
"""Name, path and options of a data set -> its object."""


def _make_dataset(name: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except UsageError:
        raise
    except FOREIGN as error:  # a user's own class may raise anything
        problem = f"cannot be made: {describe_error(error)}"
        raise UsageError(Kind.INVALID, problem, flag="dataset", value=name) from error
