"""Numbers that a reference has and a run lost, though the run took their measure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

from capsbench.comparing.checked import MISSING, Finding
from capsbench.comparing.judged import list_judged
from capsbench.comparing.pairing import Pairing
from capsbench.comparing.side import Contender, to_experiment
from capsbench.records.record import TRAINING, NumberKey, Record, Row
from capsbench.registry import measure_name


class NumberName(NamedTuple):
    """The name of a judged number: its title alone may be that of another measure's number."""

    measure: str
    metric: str
    title: str


class LostRows(NamedTuple):
    """The rows that a judged number lost, of so many that it should have."""

    keys: set[NumberKey]
    expected: int


@dataclass(frozen=True)
class Lost:
    """The numbers that a record should have and does not have.

    Attributes:
        measures: spec of a measure without any number, or `TRAINING` -> its rows in the reference.
        numbers: name of a judged number of another measure -> its lost rows.
    """

    measures: dict[str, set[NumberKey]] = field(default_factory=dict)
    numbers: dict[NumberName, LostRows] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.measures or self.numbers)

    def has(self, row: Row) -> bool:
        """Returns true if a row of the reference is among the lost ones."""
        lost = [*self.measures.values(), *(rows.keys for rows in self.numbers.values())]
        return any(row.key in keys for keys in lost)

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yields the title and a description of each loss; all measures without a number are one loss, ``measures``."""
        if self.measures:
            yield "measures", f"no numbers of {', '.join(self.measures)}; the reference has some"
        for (_, _, title), (keys, expected) in self.numbers.items():
            if len(keys) == expected:
                yield title, f"no {title}; the reference has it"
            else:
                yield title, f"only {expected - len(keys)} of {expected} rows of {title}; the reference has all"


def find_lost(pairing: Pairing) -> Iterator[Finding]:
    """Finds the measures of a run without any number, and the judged numbers that lack rows."""
    for title, before, now in pairing.comparable:
        for record in now.records.values():
            for name, text in list_lost(before, record, pairing).describe():
                yield Finding(MISSING, title, name, f"{pairing.cells[record.cell.id]}: {text}")


def list_lost(before: Contender, record: Record, pairing: Pairing) -> Lost:
    """Returns what a record of the run lost: against the reference's record of its seed, or else what all of them have.

    Only numbers of measures that the record took count. Single rows of other numbers do not: the name of the loss that misleads
    a network most, for example, differs from seed to seed. No transfer is expected from a network that the run does not have.
    """
    seed = record.cell.seed
    known = [before.records[seed]] if seed in before.records else [*before.records.values()]
    empty = list_empty_measures(known, record, pairing.sources)
    measures = {measure_name(spec) for spec in _rows_by_spec(record).keys() - empty.keys() - record.failures.keys()}
    here = _judged_keys(record, pairing)
    absent = pairing.absent_sources(seed)
    numbers: dict[NumberName, LostRows] = {}
    for name, keys in _keys_of_all([_judged_keys(_keep_measures(other, measures), pairing) for other in known]).items():
        expected = {key for key in keys if key[2] not in absent}
        lost = expected - here.get(name, set())
        if lost:
            numbers[name] = LostRows(lost, len(expected))
    return Lost(empty, numbers)


def list_empty_measures(known: Sequence[Record], record: Record, sources: Collection[str]) -> dict[str, set[NumberKey]]:
    """Returns the measures that gave numbers in any known record and none in one that took them: spec -> known rows.

    Args:
        sources: identities of the networks that a condition may name: a measure between networks may have no other network.
    """
    given: dict[str, set[NumberKey]] = {}
    for other in known:
        for spec, rows in _rows_by_spec(other).items():
            if any(row.condition not in sources for row in rows):
                given.setdefault(spec, set()).update(row.key for row in rows)
    here = _rows_by_spec(record)
    return {spec: given[spec] for spec in sorted(given.keys() & here.keys() - record.failures.keys()) if not here[spec]}


def select_taken_rows(known: Record, record: Record) -> list[Row]:
    """Returns the rows of a record of the reference, without those of measures that the run's record has not taken."""
    taken = {TRAINING, *map(measure_name, record.measured)}
    return [row for spec, rows in _rows_by_spec(known).items() if measure_name(spec) in taken for row in rows]


def _judged_keys(record: Record, pairing: Pairing) -> dict[NumberName, set[NumberKey]]:
    """Returns the rows of each number that the gate holds against the reference: name -> keys.

    For a transfer, the condition of a key is the experiment of its source.
    """
    sources, specs = pairing.sources, pairing.specs
    keys = {
        NumberName(number.measure, number.metric.name, number.title): {
            (number.measure, number.metric.name, *place) for place in values
        }
        for number in list_judged(specs, "mean")
        if number.average((values := number.find_rows(record, sources)).values()) is not None
    }
    single = [*list_judged(specs, "exact"), *list_judged(specs, "time")]
    checks = list_judged(specs, "check")
    for row in record.rows:
        source = sources.get(row.condition)
        if source is not None and source.seed != record.cell.seed:
            continue
        condition = row.condition if source is None else to_experiment(source)
        titles = [number.title for number in single if number.is_of(row)]
        titles += [number.name_check(row) for number in checks if number.is_of(row)]
        for title in titles:
            name = NumberName(row.measure, row.metric, title)
            keys.setdefault(name, set()).add(row._replace(condition=condition).key)
    return keys


def _keys_of_all(records: Collection[Mapping[NumberName, set[NumberKey]]]) -> dict[NumberName, set[NumberKey]]:
    """Returns name -> the keys that all records have."""
    names = dict.fromkeys(chain.from_iterable(records))
    common = {name: set.intersection(*(keys.get(name, set()) for keys in records)) for name in names}
    return {name: keys for name, keys in common.items() if keys}


def _keep_measures(record: Record, names: Collection[str]) -> Record:
    """Returns a record with the measures of some names alone, and with its training if that is among them."""
    return replace(
        record,
        training=record.training if TRAINING in names else None,
        measures={spec: taken for spec, taken in record.measures.items() if measure_name(spec) in names},
    )


def _rows_by_spec(record: Record) -> dict[str, list[Row]]:
    training = [] if record.training is None else record.training.rows
    return {TRAINING: training, **{spec: taken.rows for spec, taken in record.measures.items()}}
