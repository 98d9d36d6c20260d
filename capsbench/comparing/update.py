"""`capsbench check --update`: the records of a run become the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from capsbench.comparing.sides import Side, read_side
from capsbench.errors import UsageError
from capsbench.statistics import FEWEST_SEEDS
from capsbench.store import Record, Store

KEPT = ("accuracy",)
"""Measures of which a reference has what they kept: the predictions, for `capsbench compare`."""


def update(against: str | Path, out: str | Path) -> list[str]:
    """Puts the records of a run in the place of a reference's: without weights, pictures and the notes of runs.

    What was measured between networks of one seed goes into the record of the one that it was measured on.

    Returns:
        A line each of what went, came and stayed.

    Raises:
        UsageError: a contender has fewer than `FEWEST_SEEDS` seeds or a failed one; nothing is changed then.
    """
    run = read_side(out, "--out")
    _check(run, out)
    store = Store(against)
    old = {record.cell.id for record in store.records()[0]}
    new = {record.cell.id: record for record in run.records}
    store.check_writable()
    for folder in ("kept", "between", "records"):
        for path in (store.folder / folder).rglob("*.*"):
            if path.is_file():
                path.unlink()
    for record in run.records:
        store.write(_without_other_seeds(record, new))
        for measure in KEPT:
            kept = run.store.kept(measure, record.cell.id)
            if kept:
                store.write_tensors(store.kept_path(measure, record.cell.id), kept)
    _remove_empty(store.folder)
    return [
        f"{len(new.keys() - old)} records came",
        f"{len(old - new.keys())} records went",
        f"{len(new.keys() & old)} records were written anew",
    ]


def _without_other_seeds(record: Record, records: Mapping[str, Record]) -> Record:
    """A record with the rows of measures between networks in it, of those networks that have its seed."""
    rows = [
        row
        for row in record.rows
        if row.condition not in records or records[row.condition].cell.seed == record.cell.seed
    ]
    return replace(record, rows=rows)


def _check(run: Side, out: str | Path) -> None:
    if run.failed or run.faults:
        first = run.faults[0] if run.faults else f"{run.failed[0].cell.title}: {run.failed[0].reason}"
        raise UsageError(f"--out {out}: a reference is of whole records only; {first}")
    for identity, contender in run.contenders.items():
        if len(contender.records) < FEWEST_SEEDS:
            raise UsageError(
                f"--out {out}: a reference needs {FEWEST_SEEDS} seeds or more, to tell what chance does; {run.titles[identity]} "
                f"has {len(contender.records)}: `capsbench run ... --seeds 0,1,2,3,4`"
            )
        for record in contender.records.values():
            if record.status != "finished":
                raise UsageError(
                    f"--out {out}: {record.cell.title} is not measured yet; the same `capsbench run` goes on"
                )


def _remove_empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
