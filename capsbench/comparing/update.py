"""`capsbench check --update`: the records of a run become the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from capsbench.comparing.checked import GOES_ON
from capsbench.comparing.lost import find_lost, list_empty_measures
from capsbench.comparing.pairing import Pairing
from capsbench.comparing.side import (
    Side,
    read_latest_run,
    read_side,
    title_contenders,
    title_side_cells,
    with_one_setting,
)
from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.measures.accuracy.spec import ACCURACY
from capsbench.records.record import Artifact, Measurement, Record, Row
from capsbench.records.software.requirements import read_requirements, write_requirements
from capsbench.records.store import Store
from capsbench.records.swap import finish_update, replace_parts
from capsbench.registry import measure_name
from capsbench.stats.differences import FEWEST_SEEDS

KEPT = (ACCURACY,)
"""Measures of which a reference has what they kept: the predictions, for `capsbench compare`."""


TAKE_AGAIN = "`capsbench run` with {flag:fresh} takes"
"""The remedy for lost numbers."""


def has_records(against: str | Path) -> bool:
    """Returns true if a folder holds records; finishes an interrupted update of it first."""
    folder = Path(against)
    if folder.is_dir():
        finish_update(folder, "against")
    return any((folder / "records").glob("*.json"))


def update(against: str | Path, out: str | Path) -> list[str]:
    """Puts the records of the latest run of a folder in the place of a reference's: without weights, pictures and notes of runs.

    The new reference is written whole beside the old one before it takes its place, all of it or nothing
    (`capsbench.records.swap`). What was measured between networks of one seed goes into the record of the one that it was
    measured on.

    Returns:
        A line each of what went, came and stayed.

    Raises:
        UsageError: a contender has fewer than `FEWEST_SEEDS` seeds or a failed one, or lost numbers that other seeds or
            the old reference have; or the folder of the reference is a run's, has a record of a newer capsbench or cannot
            be written. Nothing is changed then.
        StorageFailed: the disk does not take the new reference; nothing is changed then.
    """
    folder = Path(against)
    if folder.resolve() == Path(out).resolve():
        raise UsageError(
            Kind.CONFLICT,
            "the same folder as {flag:out}",
            flag="against",
            file=against,
            expected="a reference has a folder of its own",
        )
    if (folder / "weights").exists():
        raise UsageError(
            Kind.CONFLICT,
            "the folder of a run, whose records {flag:update} would remove",
            flag="against",
            file=against,
            expected="name another",
        )
    run = read_latest_run(out, "out")
    _check_complete(run, out)
    _check_seeds_alike(run, out)
    has_old = has_records(folder)
    Store(folder).check_none_newer()
    reference = read_side(folder, "against") if has_old else None
    if reference is not None:
        _check_nothing_lost(reference, run, folder, out)
    old = [] if reference is None else [*reference.records, *reference.failed]
    new = {record.cell.id: record for record in run.records}
    with replace_parts(folder, "against") as new_folder:
        _write_records(Store(new_folder), run, new)
    return _describe_update(old, new)


def _describe_update(old: Sequence[Record], new: Mapping[str, Record]) -> list[str]:
    known = {record.cell.id for record in old}
    lines = [
        f"{len(new.keys() - known)} records came",
        f"{len(known - new.keys())} records went",
        f"{len(new.keys() & known)} records were written anew",
    ]
    before, now = (
        {measure_name(spec) for record in records for spec in record.measured} for records in (old, new.values())
    )
    return [*lines, *([f"no longer measured: {', '.join(sorted(before - now))}"] if before - now else [])]


def explain_unlike(error: NothingMeasured, against: str | Path) -> NothingMeasured:
    """The error of a check that has nothing in common with its reference, where that was to be updated by it."""
    return NothingMeasured(
        error.kind,
        f"{error.problem}; it stays as it is",
        flag=error.flag,
        file=error.file,
        expected=f"to put this run in its place, remove {Path(against) / 'records'} first, or name a new folder by "
        "{flag:against}",
    )


def _write_records(store: Store, run: Side, records: Mapping[str, Record]) -> None:
    for record in records.values():
        measures = {
            spec: replace(measurement, kept=_copy_kept(spec, measurement, record, run, store))
            for spec, measurement in without_other_seeds(record, records).measures.items()
        }
        store.write(replace(record, measures=measures))
    for _, content in read_requirements(run.store.folder):
        write_requirements(store.folder, content)


def _copy_kept(spec: str, measurement: Measurement, record: Record, run: Side, store: Store) -> Artifact | None:
    """Copies the arrays that a measure kept, for the measures in `KEPT`."""
    arrays = run.store.read_artifact(measurement.kept) if measurement.kept and measure_name(spec) in KEPT else {}
    if not arrays:
        return None
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    return store.write_tensors(store.kept_path(spec, record.cell.id), tensors)


def without_other_seeds(record: Record, records: Mapping[str, Record]) -> Record:
    """A record with the rows of measures between networks in it, of those networks that have its seed."""

    def is_of_its_seed(row: Row) -> bool:
        return row.condition not in records or records[row.condition].cell.seed == record.cell.seed

    measures = {
        spec: replace(measurement, rows=list(filter(is_of_its_seed, measurement.rows)))
        for spec, measurement in record.measures.items()
    }
    return replace(record, measures=measures)


def _check_seeds_alike(run: Side, out: str | Path) -> None:
    """Raises UsageError for a measure that gave numbers for all other seeds of a contender and none for one.

    Single numbers may differ between seeds: of a network that no attack misleads there is no rate of transferred attacks.
    """
    (run,), _ = with_one_setting(run)
    cells, sources = title_side_cells(run), {record.cell.id for record in run.records}
    for contender in run.contenders.values():
        for seed, record in contender.records.items():
            others = [other for number, other in contender.records.items() if number != seed]
            empty = list_empty_measures(others, record, sources)
            if empty:
                problem = f"{cells[record.cell.id]}: no numbers of {', '.join(empty)}; other seeds have some"
                raise UsageError(Kind.DAMAGED, problem, flag="out", file=out, expected=f"{TAKE_AGAIN} it")


def _check_nothing_lost(reference: Side, run: Side, folder: Path, out: str | Path) -> None:
    """Raises UsageError for a run that lost numbers of the old reference, though it took their measures."""
    pairing = Pairing(*with_one_setting(reference, run)[0])
    lost = next(find_lost(pairing), None)
    if lost is not None:
        raise UsageError(
            Kind.MISSING,
            f"its latest run lost numbers of the reference: {lost.text}",
            flag="out",
            file=out,
            expected=f"{TAKE_AGAIN} them; for a reference without them, remove {folder / 'records'} first",
        )


def _check_complete(run: Side, out: str | Path) -> None:
    titles, cells = title_contenders(run), title_side_cells(run)
    failed = [*run.failed, *(record for record in run.records if record.reason)]
    if failed or run.faults:
        first = run.faults[0] if run.faults else f"{cells[failed[0].cell.id]}: {failed[0].reason}"
        raise UsageError(Kind.DAMAGED, f"a reference is of whole records only; {first}", flag="out", file=out)
    if run.left or run.absent:
        problem = f"{len(run.left) + len(run.absent)} cells of its latest run are not trained yet"
        raise UsageError(Kind.MISSING, problem, flag="out", file=out, expected=GOES_ON)
    for identity, contender in run.contenders.items():
        if len(contender.records) < FEWEST_SEEDS:
            raise UsageError(
                Kind.CONFLICT,
                f"a reference needs {FEWEST_SEEDS} seeds or more, to tell what chance does; {titles[identity]} has "
                f"{len(contender.records)}",
                flag="out",
                file=out,
                value=len(contender.records),
                expected="one `capsbench run` with {flag:seeds} 0,1,2,3,4; what is on record is not trained again",
            )
        for record in contender.records.values():
            if record.status != "finished":
                raise UsageError(
                    Kind.MISSING,
                    f"{cells[record.cell.id]} is not measured yet",
                    flag="out",
                    file=out,
                    expected=GOES_ON,
                )
