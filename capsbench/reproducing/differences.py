"""What may explain other numbers: in which fields, versions, machines, sources and data two records of a cell differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from capsbench.comparing.comparison import PROVENANCE
from capsbench.records.cell import DATA, Cell
from capsbench.records.record import Record
from capsbench.sources import changed_parts

FACTS = (*PROVENANCE, "instructions", "torchvision", "driver", "platform")
"""The facts of machine and software that are compared."""

OF_CODE = {"capsbench", "commit", "dirty"}
"""Those of them that tell which code ran."""

UNIMPORTANT = ("driver", "platform")
"""Those of them that leave the bits of a number as they are."""


class Difference(NamedTuple):
    """A fact in which a reproduction differs: what it is, its value on record, and here."""

    name: str
    recorded: Any
    here: Any


def find_differences(before: Record, now: Record) -> list[Difference]:
    """Returns the facts in which a reproduction differs from its record.

    They are fields and options of the cell, versions of its components and measures, the machine and its software, the commit,
    the implementation of the vote pass, and the digests of the data and of a user's own sources.
    """
    return [
        *_compare_cells(before.cell, now.cell),
        *_compare_versions(before, now),
        *_compare_facts(before.provenance, now.provenance),
        *_compare_data(before, now),
    ]


def _compare_cells(before: Cell, now: Cell) -> Iterator[Difference]:
    for name in Cell.model_fields:
        one, other = getattr(before, name), getattr(now, name)
        if isinstance(one, Mapping):
            for part in changed_parts(one, other):
                yield Difference(f"source of {part}" if name == "code" else part, one.get(part), other.get(part))
        elif one != other:
            yield Difference(name, one, other)


def _compare_versions(before: Record, now: Record) -> Iterator[Difference]:
    ones, others = ({} if record.training is None else record.training.versions for record in (before, now))
    for part in sorted(ones.keys() & others.keys()):
        if ones[part] != others[part]:
            yield Difference(f"version of {part}", ones[part], others[part])
    for spec in sorted(before.measures.keys() & now.measures.keys()):
        one, other = before.measures[spec], now.measures[spec]
        if one.version != other.version:
            yield Difference(f"version of {spec}", one.version, other.version)
        if one.code != other.code:
            yield Difference(f"source of {spec}", one.code, other.code)


def _compare_facts(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    for name in FACTS:
        # An older record may not have a fact, which explains nothing.
        if name in before and before[name] != now.get(name):
            yield Difference(name, before.get(name), now.get(name))


def _compare_data(before: Record, now: Record) -> Iterator[Difference]:
    if before.training is None or now.training is None:
        return
    if before.training.backends != now.training.backends:
        yield Difference("vote pass", ", ".join(before.training.backends), ", ".join(now.training.backends))
    first, second = (record.sources.get(DATA, {}) for record in (before.training, now.training))
    if first and second:
        for part in changed_parts(first, second):
            yield Difference(f"digest of {part}", first.get(part), second.get(part))
