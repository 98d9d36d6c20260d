"""Failed cells, cells without a record, and contenders and measures that only the reference has."""

from __future__ import annotations

from collections.abc import Iterator

from capsbench.comparing.checked import ALL, FAILED, GOES_ON, MISSING, Finding
from capsbench.comparing.pairing import Pairing
from capsbench.comparing.side import to_experiment


def find_missing(pairing: Pairing) -> Iterator[Finding]:
    """Finds cells of the run that failed or have no record, then contenders and measures that only the reference has."""
    yield from _find_missing_cells(pairing)
    yield from _find_missing_contenders(pairing)
    yield from _find_missing_measures(pairing)


def _find_missing_cells(pairing: Pairing) -> Iterator[Finding]:
    run, titles, cells = pairing.current, pairing.titles, pairing.cells
    for record in {to_experiment(record.cell): record for record in run.failed}.values():
        text = f"{cells[record.cell.id]}: {record.reason}"
        yield Finding(FAILED, titles[record.cell.contender], "training", text)
    for record in run.left:
        text = f"{cells[record.cell.id]}: a fresh run was to train it anew and has not yet; {GOES_ON}"
        yield Finding(MISSING, titles[record.cell.contender], "records", text)
    if run.absent:
        count = f"{len(run.absent)} of the cells of the latest run have no record"
        yield Finding(MISSING, ALL, "records", f"{count} ({', '.join(run.absent)}); {GOES_ON}")


def _find_missing_contenders(pairing: Pairing) -> Iterator[Finding]:
    run = pairing.current
    reported = {to_experiment(record.cell) for record in (*run.failed, *run.left)}
    shared = {old for old, _ in pairing.shared}
    for identity, contender in pairing.reference.contenders.items():
        if identity not in shared and to_experiment(contender.cell) not in reported:
            text = "in the reference, and not in the latest run"
            yield Finding(MISSING, pairing.titles[identity], "records", text)


def _find_missing_measures(pairing: Pairing) -> Iterator[Finding]:
    for title, before, now in pairing.all:
        specs = {spec for record in before.records.values() for spec in record.measured}
        for record in now.records.values():
            missing = ", ".join(sorted(specs - {*record.measured}))
            if record.reason:
                yield Finding(FAILED, title, "measures", f"{pairing.cells[record.cell.id]}: {record.reason}")
            elif missing:
                yield Finding(MISSING, title, "measures", f"{pairing.cells[record.cell.id]}: {missing} not measured")
