"""Finds stale records and numbers: those made with another version of a component.

A component declares its version where it is defined: ``version`` in the class of a measure, a routing, a network, a loss or a
data set, and ``VERSION`` in `capsbench.training.loop`. A change that alters the component's results raises the version; earlier
results are then stale, and `capsbench run` makes only those again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from capsbench import registry
from capsbench.records.cell import Cell
from capsbench.records.parts import Parts
from capsbench.records.record import TRAINING, Measurement, Record


class Stale(NamedTuple):
    """A stale component, such as ``routing em``, with its version on record and its current version."""

    component: str
    on_record: int
    now: int

    def __str__(self) -> str:
        return f"{self.component} (version {self.on_record}, now {self.now})"


def training_versions(cell: Cell) -> dict[str, int]:
    """Returns component -> version for training; a user's own components have version 1, and a digest in the cell."""
    versions = {TRAINING: registry.training_version()}
    for part in Parts.from_cell(cell):
        versions[part.kind] = registry.declared_version(part.kind, part.name) or 1
    return versions


def stale_training(record: Record) -> list[Stale]:
    """Returns the components that had another version when the network was trained."""
    return [] if record.training is None else find_stale(record.cell, record.training.versions)


def find_stale(cell: Cell, known: Mapping[str, int]) -> list[Stale]:
    """Returns the components of a cell whose present version differs from a known one."""
    names = {TRAINING: "the training loop", **{part.kind: str(part) for part in Parts.from_cell(cell)}}
    return [
        Stale(names[kind], known[kind], now)
        for kind, now in training_versions(cell).items()
        if known.get(kind, now) != now
    ]


def stale_measures(record: Record) -> dict[str, Stale]:
    """Returns spec -> `Stale` for the measures that had another version when they were taken."""
    checked = {spec: _stale_measure(spec, measurement) for spec, measurement in record.measures.items()}
    return {spec: stale for spec, stale in checked.items() if stale is not None}


def describe_stale(records: Iterable[Record]) -> list[str]:
    """Returns a line for each stale component, with the number of networks concerned."""
    networks: dict[Stale, int] = {}
    numbers: dict[Stale, int] = {}
    for record in records:
        trained = stale_training(record)
        for stale in trained:
            networks[stale] = networks.get(stale, 0) + 1
        for stale in () if trained else stale_measures(record).values():
            numbers[stale] = numbers.get(stale, 0) + 1
    return [
        *(
            f"{_count_networks(networks[stale])} trained with another {stale}: `capsbench run` trains them again"
            for stale in networks
        ),
        *(
            f"{_count_networks(numbers[stale])} measured with another {stale}: `capsbench run` and `capsbench measure` "
            "take it again"
            for stale in numbers
        ),
    ]


def _count_networks(networks: int) -> str:
    return "1 network was" if networks == 1 else f"{networks} networks were"


def _stale_measure(spec: str, measurement: Measurement) -> Stale | None:
    now = registry.declared_version("measure", registry.measure_name(spec))
    return None if now in (None, measurement.version) else Stale(f"measure {spec}", measurement.version, now or 1)
