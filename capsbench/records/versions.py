"""Which records, and which numbers of them, are stale: made by a version of a component that is another by now.

A component declares its version where it is defined: ``version`` in the class of a measure, a routing, a network, a loss or a
data set, and ``VERSION`` in `capsbench.training.loop`. It is raised when a change alters what the component gives; what it made
before is then stale, and `capsbench run` makes exactly that anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from capsbench import registry
from capsbench.records.cell import Cell
from capsbench.records.record import TRAINING, Measurement, Record


class Stale(NamedTuple):
    """What is of another version: a component, such as ``routing em``, the version on record, and that of now."""

    component: str
    on_record: int
    now: int

    def __str__(self) -> str:
        return f"{self.component} (version {self.on_record}, now {self.now})"


def training_versions(cell: Cell) -> dict[str, int]:
    """Component -> version, of what makes the weights of a cell; a user's own components have 1, and a digest in the cell."""
    versions = {TRAINING: registry.training_version()}
    for kind, name in components_of(cell):
        versions[kind] = registry.declared_version(kind, name) or 1
    return versions


def stale_training(record: Record) -> list[Stale]:
    """The components of a network that were of another version when it was trained."""
    if record.training is None:
        return []
    names = {TRAINING: "the training loop", **{kind: f"{kind} {name}" for kind, name in components_of(record.cell)}}
    known = record.training.versions
    return [
        Stale(names[kind], known[kind], now)
        for kind, now in training_versions(record.cell).items()
        if known.get(kind, now) != now
    ]


def stale_measures(record: Record) -> dict[str, Stale]:
    """Spec -> what is stale, of the measures that were of another version when they were taken."""
    found = {spec: _stale_measure(spec, measurement) for spec, measurement in record.measures.items()}
    return {spec: stale for spec, stale in found.items() if stale is not None}


def tell_stale(records: Iterable[Record]) -> list[str]:
    """A line for each component of another version: how many networks, or whose numbers, it concerns."""
    networks: dict[Stale, int] = {}
    numbers: dict[Stale, int] = {}
    for record in records:
        trained = stale_training(record)
        for stale in trained:
            networks[stale] = networks.get(stale, 0) + 1
        for stale in () if trained else stale_measures(record).values():
            numbers[stale] = numbers.get(stale, 0) + 1
    return [
        *(f"{_count(networks[stale])} trained with another {stale}: `capsbench run` trains anew" for stale in networks),
        *(
            f"{_count(numbers[stale])} measured with another {stale}: `capsbench run` and `capsbench measure` take it anew"
            for stale in numbers
        ),
    ]


def _count(networks: int) -> str:
    return "1 network was" if networks == 1 else f"{networks} networks were"


def components_of(cell: Cell) -> list[tuple[str, str]]:
    """The components of a cell as (kind, name); a CNN is of the kind ``baseline``."""
    network = registry.kind_of(cell.network)
    named = [("dataset", cell.dataset), (network, cell.network), ("routing", cell.routing), ("loss", cell.loss)]
    return [(kind, name) for kind, name in named if name is not None]


def _stale_measure(spec: str, measurement: Measurement) -> Stale | None:
    now = registry.declared_version("measure", registry.measure_name(spec))
    return None if now in (None, measurement.version) else Stale(f"measure {spec}", measurement.version, now or 1)
