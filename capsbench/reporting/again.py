"""How the cells of a report are made again: the commands, worked out beside everything else.

What a component's defaults are has to be known for that, and so torch has to be imported, which takes seconds. A copy of this
process does that while records are read; the report itself needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from capsbench.records.record import Record
from capsbench.reporting.parallel import readied

Groups = Mapping[str, Sequence[Record]]
"""Contender (`Cell.contender`) -> the records of its cells, which differ in nothing but their seed."""


class Again(NamedTuple):
    """How cells are made again: a command, empty where there is none, and what there is to know beside it."""

    command: str
    note: str = ""


class Failure(NamedTuple):
    """Cells that failed alike: what they are, why, and how they are run again."""

    title: str
    seeds: list[int]
    reason: str
    again: Again


class Repeats(NamedTuple):
    """How the cells of each contender are made again that have not failed, and those that have."""

    contenders: dict[str, Again]
    failures: list[Failure]


def grouped(records: Sequence[Record]) -> Groups:
    """The records of each contender."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.cell.contender, []).append(record)
    return groups


def begin() -> Callable[[Groups], Callable[[], Repeats]]:
    """Makes ready; what is returned begins to work out the commands of records, and returns what waits for them."""
    give = readied(_ready)
    return lambda groups: give({name: [_told(record) for record in own] for name, own in groups.items()})


def _told(record: Record) -> Record:
    """What has to be known of a record: of its numbers, those of its training."""
    return replace(record, rows=[row for row in record.rows if row.measure == "training"], history=[])


def _ready() -> Callable[[Groups], Repeats]:
    from capsbench.reporting.rerun import commands, failures

    return lambda groups: Repeats(commands(groups), failures(groups))
