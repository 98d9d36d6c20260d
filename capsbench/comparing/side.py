"""A folder of records as one side of a comparison: its contenders, and which of the other side's they are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from capsbench.errors import Kind, UsageError
from capsbench.planning.contender_defaults import defaults_from
from capsbench.presenting.naming import Names
from capsbench.presenting.steps import Steps
from capsbench.records.cell import OF_MACHINE, Cell, fields_of
from capsbench.records.declaration import Role
from capsbench.records.folder import require_records
from capsbench.records.record import TRAINING, Record, Row, Run, keep_one_setting
from capsbench.records.runs import find_left_to_retrain, latest_run, records_of
from capsbench.records.store import Store
from capsbench.records.swap import read_whole
from capsbench.registry import split_spec

HARDWARE = ("cpu", "gpu", "cores")
VERSIONS = ("python", "torch", "triton", "numba", "numpy", "torchvision", "cuda")
"""Facts of provenance about the machine, and of the software that decides the last bits of a number."""


class Number(NamedTuple):
    """The identity of a number of a network.

    ``measure`` has its setting (`label_of`), and ``condition`` names the source of a transfer by its title.
    """

    measure: str
    metric: str
    condition: str
    level: float | None
    unit: str


NumbersBySeed = Mapping[int, Mapping[Number, float]]
"""Seed -> the numbers of its network."""


@dataclass
class Contender:
    """Networks that differ in nothing but their seed."""

    records: dict[int, Record] = field(default_factory=dict)

    @property
    def cell(self) -> Cell:
        return next(iter(self.records.values())).cell


@dataclass(frozen=True)
class Side:
    """A folder: contenders by their identity, failed records, a line each unreadable file, and other notes.

    Of a side that is a run (``run``), failed are also cells that have a record of before. ``left`` are records of cells that it
    was to train anew and has not yet; ``absent`` are its cells that have no record.
    """

    store: Store
    contenders: dict[str, Contender]
    failed: list[Record]
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    run: Run | None = None
    left: list[Record] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    @property
    def records(self) -> list[Record]:
        return [record for contender in self.contenders.values() for record in contender.records.values()]

    def failed_of(self, contender: Contender) -> int:
        """Returns the number of failed seeds of a contender."""
        return self._failed_by_contender[contender.cell.contender]

    def kept(self, measure: str, cell_id: str) -> dict[str, NDArray[Any]]:
        """Returns the arrays that a measure kept for a cell; empty if there are none."""
        record = self._records_by_cell.get(cell_id)
        return {} if record is None else self.store.kept(record, measure)

    # Both are asked once a cell or contender: to search a list each time takes hours for 10,000 records.
    @cached_property
    def _records_by_cell(self) -> dict[str, Record]:
        return {record.cell.id: record for record in self.records}

    @cached_property
    def _failed_by_contender(self) -> Counter[str]:
        return Counter(record.cell.contender for record in self.failed)


def read_side(folder: str | Path, flag: str) -> Side:
    """All records of a folder.

    Args:
        flag: the flag or positional argument that names it, such as ``against`` or ``A``.

    Raises:
        UsageError, NothingMeasured: as `capsbench.records.folder.require_records`.
    """
    return read_whole(Path(folder), flag, lambda: _read_side(Store(folder), flag))


def _read_side(store: Store, flag: str) -> Side:
    records, faults = require_records(store, flag)
    failed = [record for record in records if record.status == "failed"]
    return _make_side(store, [record for record in records if record.status != "failed"], failed, faults)


def read_latest_run(folder: str | Path, flag: str) -> Side:
    """The latest run of a folder: no record of before stands in for a cell that failed in it, or that it has left.

    Where no run is noted, as in a reference, all records are one run; of those that differ in the source of a user's own parts,
    those of the run with the highest number.

    Raises:
        UsageError, NothingMeasured: as `read_side`.
        UsageError: which run is the latest is not known, since its note is damaged or there is none.
    """
    return read_whole(Path(folder), flag, lambda: _read_latest_run(Store(folder), flag))


def _read_latest_run(store: Store, flag: str) -> Side:
    records, faults = require_records(store, flag)
    noted = store.read_notes()
    run = latest_run(noted, flag)
    of_run, absent = (_of_latest_source(records, store, flag), []) if run is None else records_of([run], records)
    left = find_left_to_retrain(noted.runs, of_run)
    failed = [record for record in of_run if record.status == "failed" or record.is_outdated]
    others = {record.cell.id for record in (*left, *failed)}
    side = _make_side(store, [record for record in of_run if record.cell.id not in others], failed, faults)
    passed_over = len(records) - len(of_run)
    notes = (
        [f"{passed_over} records of cells that the latest run was not asked for are passed over"] if passed_over else []
    )
    left = [record for record in left if not record.is_outdated]
    return replace(side, notes=notes, run=run, left=left, absent=absent)


def _make_side(store: Store, records: list[Record], failed: list[Record], faults: list[str]) -> Side:
    contenders: dict[str, Contender] = {}
    for record in store.add_between(records):
        contenders.setdefault(record.cell.contender, Contender()).records[record.cell.seed] = record
    return Side(store, contenders, failed, [*faults, *store.list_unreadable([*records, *failed])])


def with_one_setting(*sides: Side) -> tuple[list[Side], list[str]]:
    """The sides with one setting of each measure on a record: the one that most records of all sides have.

    Returns:
        The sides; and a line for each measure with others, which are left out.
    """
    records, several = keep_one_setting([record for side in sides for record in side.records])
    by_place = iter(records)
    lines = [
        f"{specs[0]} is judged, which most networks have; {', '.join(specs[1:])} is not" for specs in several.values()
    ]
    return [
        replace(
            side,
            contenders={
                identity: Contender({seed: next(by_place) for seed in contender.records})
                for identity, contender in side.contenders.items()
            },
        )
        for side in sides
    ], lines


def _of_latest_source(records: Sequence[Record], store: Store, flag: str) -> list[Record]:
    """Keeps, of records that differ in the source of a user's own parts, those of the run with the highest number.

    Raises:
        UsageError: their numbers do not tell.
    """
    sources: dict[str, dict[int, list[Mapping[str, str]]]] = {}
    for record in records:
        entry = record.failures.get(TRAINING) or record.training
        run = entry.run or 0 if entry is not None else 0
        codes = sources.setdefault(_without_source(record), {}).setdefault(run, [])
        if record.cell.code not in codes:
            codes.append(record.cell.code)
    latest = {alike: by_run[max(by_run)] for alike, by_run in sources.items()}
    if any(len(codes) > 1 for codes in latest.values()):
        raise UsageError(
            Kind.AMBIGUOUS,
            "has records of several sources of one's own parts, and no note of a run says which ran last",
            flag=flag,
            file=store.folder,
            expected="the same `capsbench run` notes it",
        )
    return [record for record in records if record.cell.code in latest[_without_source(record)]]


def _without_source(record: Record) -> str:
    return record.cell.model_dump_json(exclude={*fields_of(Role.SEED, Role.SOURCE)})


def make_steps(a: Side, b: Side, titles: Mapping[str, str] | None = None) -> Steps:
    """The steps of the numbers of both sides.

    Args:
        titles: those by which `collect_numbers` named them, if it did.
    """

    def read_kept(measure: str, cell: str) -> dict[str, NDArray[Any]]:
        return a.kept(measure, cell) or b.kept(measure, cell)

    return Steps([*a.records, *b.records], read_kept, titles)


def collect_numbers(record: Record, titles: Mapping[str, str]) -> dict[Number, float]:
    """Returns the numbers of a record.

    Args:
        titles: cell -> title, of the networks that a condition may name.
    """

    def read_numbers(rows: Iterable[Row], spec: str) -> Iterator[tuple[Number, float]]:
        setting = split_spec(spec)[1]
        for row in rows:
            condition = titles.get(row.condition, row.condition)
            yield Number(_join_setting(row, setting), row.metric, condition, row.level, row.unit), row.value

    values = {} if record.training is None else dict(read_numbers(record.training.rows, TRAINING))
    for spec, measurement in record.measures.items():
        values |= read_numbers(measurement.rows, spec)
    return values


def collect_by_seed(contender: Contender, titles: Mapping[str, str]) -> NumbersBySeed:
    """Returns seed -> the numbers of its record (`collect_numbers`)."""
    return {seed: collect_numbers(record, titles) for seed, record in contender.records.items()}


def label_of(row: Row, spec: str) -> str:
    """The measure of a row, with its setting where that is not the default: ``affine``, ``affine:full``."""
    return _join_setting(row, split_spec(spec)[1])


def _join_setting(row: Row, setting: str) -> str:
    return f"{row.measure}:{setting}" if setting else row.measure


def title_side_cells(*sides: Side) -> dict[str, str]:
    """Cell -> title, as `collect_numbers` takes it: one for all cells that are the same experiment, whatever their machine."""
    cells = _list_cells(sides)
    titles = _title_experiments(_list_records(sides))
    return {cell.id: f"{titles[to_experiment(cell)]}, seed {cell.seed}" for cell in cells}


def title_contenders(*sides: Side) -> dict[str, str]:
    """Contender -> its title, with what differs between the contenders of all sides; of machines, between those of one side."""
    titles = _title_experiments(_list_records(sides))
    alike: dict[str, dict[str, Cell]] = {}
    several: set[str] = set()
    for side in sides:
        by_contender = {cell.contender: cell for cell in _list_cells([side])}
        for identity, cell in by_contender.items():
            alike.setdefault(to_experiment(cell), {})[identity] = cell
        several |= {key for key, count in Counter(map(to_experiment, by_contender.values())).items() if count > 1}
    titles_by_contender: dict[str, str] = {}
    for key, cells in alike.items():
        names = Names(cells.values())
        for identity, cell in cells.items():
            of_machine = names.title(identity).removeprefix(cell.title.rpartition(", seed ")[0])
            titles_by_contender[identity] = titles[key] + (of_machine if key in several else "")
    return titles_by_contender


def _list_records(sides: Iterable[Side]) -> list[Record]:
    return [record for side in sides for record in (*side.records, *side.failed, *side.left)]


def _list_cells(sides: Iterable[Side]) -> list[Cell]:
    return [record.cell for record in _list_records(sides)]


def _title_experiments(records: Sequence[Record]) -> dict[str, str]:
    """Experiment -> title without the seed."""
    first = {to_experiment(record.cell): record.cell for record in records}
    if not first:
        return {}
    here = {name: getattr(next(iter(first.values())), name) for name in fields_of(Role.MACHINE)}
    alike = {key: cell.model_copy(update={**here, "code": {}}) for key, cell in first.items()}
    defaults, measured = defaults_from(records), {cell.id: first[key] for key, cell in alike.items()}
    names = Names(alike.values(), lambda cell: defaults(measured[cell.id]))  # without its code, a cell has no images
    return {key: names.title(cell.contender) for key, cell in alike.items()}


def match_contenders(a: Side, b: Side) -> list[tuple[str, str]]:
    """Contenders of two sides that are the same experiment, by their identities.

    First those of one identity. Of the others, those that differ at most in the machine and in the source of a user's own, as
    long as there is one such contender on either side.
    """
    same = [identity for identity in a.contenders if identity in b.contenders]
    left = [_by_experiment(side, set(side.contenders) - set(same)) for side in (a, b)]
    alike = [
        (left[0][key][0], left[1][key][0]) for key in left[0] if len(left[0][key]) == len(left[1].get(key, [])) == 1
    ]
    return [*((identity, identity) for identity in same), *alike]


@cache
def to_experiment(cell: Cell) -> str:
    """Returns what cells share that differ at most in seed, machine and the sources of a user's own."""
    fields = cell.model_dump(mode="json", exclude={*fields_of(Role.SEED, Role.SOURCE, Role.MACHINE)})
    return json.dumps(fields, sort_keys=True)


def _by_experiment(side: Side, identities: Iterable[str]) -> dict[str, list[str]]:
    identities_by_key: dict[str, list[str]] = {}
    for identity in sorted(identities):
        identities_by_key.setdefault(to_experiment(side.contenders[identity].cell), []).append(identity)
    return identities_by_key


def other_hardware(a: Contender, b: Contender) -> str:
    """Returns the differences between the machines of two contenders in words; empty if there are none."""
    different = []
    for name, ones, others in [
        *((name, _collect_facts(a, name), _collect_facts(b, name)) for name in HARDWARE),
        *((name, {getattr(a.cell, name)}, {getattr(b.cell, name)}) for name in OF_MACHINE),
    ]:
        if ones != others:
            different.append(f"{name} {_join_values(ones)} and {_join_values(others)}")
    return "; ".join(different)


def same_bits_expected(a: Record, b: Record) -> bool:
    """Returns true for two records of one cell from the same kind of machine and software."""
    return all(a.provenance.get(name) == b.provenance.get(name) for name in (*HARDWARE, *VERSIONS))


def _collect_facts(contender: Contender, name: str) -> set[str]:
    return {str(record.provenance.get(name)) for record in contender.records.values()}


def _join_values(values: set[Any]) -> str:
    return " or ".join(sorted(str(value) for value in values))
