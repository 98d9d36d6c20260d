"""Numbers that a reference has and a run lacks, though it took their measure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from capsbench.comparing.checked import MISSING, Finding
from capsbench.comparing.side import Contender
from capsbench.records.record import TRAINING, Record, Row
from capsbench.registry import measure_name


def find_lacking(
    pairs: Iterable[tuple[str, Contender, Contender]], cells: Mapping[str, str], sources: Collection[str]
) -> Iterator[Finding]:
    """What gave no number in a record of the run, and some in the reference: a measure, or the training.

    Single numbers do not count: which loss is an attack's worst, and so the name of its number, is another draw of each seed.

    Args:
        pairs: title and both sides of each contender.
        cells: cell -> its title.
        sources: cells that a condition may name: transfers, which a run of fewer networks does not have.
    """
    for title, before, now in pairs:
        given: set[str] = set()
        for known in before.records.values():
            given |= {spec for spec, rows in _rows(known).items() if any(row.condition not in sources for row in rows)}
        for record in now.records.values():
            rows_now = _rows(record)
            without = [spec for spec in sorted(given & rows_now.keys() - record.failures.keys()) if not rows_now[spec]]
            if without:
                text = f"{cells[record.cell.id]}: no numbers of {', '.join(without)}, of which the reference has some"
                yield Finding(MISSING, title, "measures", text)


def taken_again(known: Record, record: Record) -> list[Row]:
    """The rows of a record of the reference without those of measures that the record of the run has not taken."""
    taken = {TRAINING, *map(measure_name, record.measured)}
    return [row for spec, rows in _rows(known).items() if measure_name(spec) in taken for row in rows]


def _rows(record: Record) -> dict[str, list[Row]]:
    training = [] if record.training is None else record.training.rows
    return {TRAINING: training, **{spec: taken.rows for spec, taken in record.measures.items()}}
