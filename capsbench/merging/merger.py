"""Merges results folders: reads all of them, decides, then writes what the merged folder lacks, each record last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from capsbench.errors import Kind, UsageError
from capsbench.merging.conflicts import Arbiter, ConflictError, Version
from capsbench.merging.notes import NewNote, choose_notes
from capsbench.merging.sources import RowsFile, Source, find_preferred, read_sources
from capsbench.merging.union import United, choose_between, count_other_times, keep_trained, unite_cells
from capsbench.records.artifacts import REMEDY_FOR_KEPT, REMEDY_FOR_WEIGHTS, copy_file
from capsbench.records.disk import write_file
from capsbench.records.record import Artifact, Record
from capsbench.records.sharing.leases import Leases
from capsbench.records.software.requirements import read_requirements, write_requirements
from capsbench.records.store import Store, read_content
from capsbench.records.tuning.trials import TRIALS, open_trials


@dataclass
class Merged:
    """The outcome of a merge.

    Attributes:
        cells: the number of cells on record in the merged folder.
        added: the identities of those that it did not have before.
        extended: the identities of those whose record it had, and which got results from other folders.
        left_out: a line for each file that could not be merged, since it is damaged or cannot be read.
        remarks: further lines for the user.
    """

    cells: int = 0
    added: list[str] = field(default_factory=list)
    extended: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Plan:
    """What a merged folder gets.

    Attributes:
        target: the merged folder.
        stamps: those of the records that it had before they were read.
        cells, between, notes: its cells, rows between networks and notes.
        requirements: the contents of its files of versions.
        known: the cells that it had.
        faults: a line for each fault.
    """

    target: Store
    stamps: Mapping[str, tuple[int, int, int] | None]
    cells: dict[str, United]
    between: list[Version[RowsFile]]
    notes: list[NewNote]
    requirements: list[str]
    known: frozenset[str]
    faults: list[str]


def merge(folders: Sequence[str | Path], out: str | Path, *, prefer: str | Path | Sequence[str | Path] = ()) -> Merged:
    """Joins results folders that were made apart into one, which has the records, weights, kept arrays, runs and trials of all.

    No folder is changed. The merged folder may exist and may be one of the folders. What it has is never overwritten, but its
    records may get more measures, and its failed cells a training. The same call finishes a merge that was interrupted.

    Args:
        folders: the results folders.
        out: the merged folder, which is made if it does not exist.
        prefer: the folders whose results count where two folders contradict each other, the most preferred first.

    Raises:
        UsageError: a folder has no records, or those of a newer capsbench; or the merged folder cannot be written.
        ConflictError: the folders contradict each other: one cell was trained with different weights, or one measure has
            different numbers. Nothing is written then. Times and memory are no contradiction.
        StorageFailed: a file cannot be written; those written before stay.
    """
    paths, target = [Path(folder) for folder in folders], Store(out)
    preferred = [Path(folder) for folder in ([prefer] if isinstance(prefer, str | Path) else prefer)]
    if not paths:
        raise UsageError(Kind.INVALID, flag="FOLDER", expected="at least one results folder")
    # Everything is planned before anything is written, the trials of searches too.
    plans = [_plan_merge(paths, target, preferred)]
    trials = [folder / TRIALS for folder in paths if (folder / TRIALS).is_dir()]
    if trials:
        preferred = [folder / TRIALS for folder in preferred if folder / TRIALS in trials]
        plans.append(_plan_merge(trials, open_trials(target.folder), preferred))
    merged, *others = [_write_plan(plan) for plan in plans]
    for of_trials in others:
        merged.left_out += of_trials.left_out
        merged.remarks.append(f"{of_trials.cells} trials of searches, {len(of_trials.added)} of them new")
    return merged


def _write_plan(plan: _Plan) -> Merged:
    """Writes what a merged folder lacks."""
    target = plan.target
    target.check_writable()  # it makes the folder: a conflict leaves none
    target.sweep()
    merged = _write_cells(plan)
    for source, path, _ in plan.between:
        write_file(target.folder / path.relative_to(source.store.folder), read_content(path))
    for content in plan.requirements:
        write_requirements(target.folder, content)
    for note in plan.notes:
        write_file(target.folder / "runs" / note.name, note.content)
    for spec, count in count_other_times(plan.cells.values()).items():
        networks = "1 network has" if count == 1 else f"{count} networks have"
        merged.remarks.append(f"{spec}: {networks} other times in several folders; those of the first folder stay")
    return merged


def _plan_merge(folders: Sequence[Path], target: Store, prefer: Sequence[Path]) -> _Plan:
    """Decides what the merged folder gets; raises ConflictError."""
    stamps = {path.stem: target.stamp(path.stem) for path in (target.folder / "records").glob("*.json")}
    sources = read_sources(folders, target.folder)
    arbiter = Arbiter(sources, find_preferred(sources, prefer))
    united = unite_cells(arbiter)
    between = choose_between(arbiter, united)
    if arbiter.conflicts:
        raise ConflictError(arbiter.conflicts)
    notes = choose_notes(sources)
    runs = [note for source in sources if source.is_target for note in source.notes.values()]
    return _Plan(
        target,
        stamps,
        keep_trained(united, [*runs, *(note.run for note in notes)]),
        [version for version in between.values() if not version.source.is_target],
        notes,
        [content for source in sources for _, content in read_requirements(source.store.folder)],
        frozenset(cell for source in sources if source.is_target for cell in source.records),
        [fault for source in sources if not source.is_target for fault in source.faults],
    )


def _write_cells(plan: _Plan) -> Merged:
    """Writes what the merged folder lacks of each cell, each under its lease.

    Raises:
        UsageError: another command works on some of the cells; the others are written.
    """
    target, stamps = plan.target, plan.stamps
    merged, busy = Merged(cells=len(plan.cells), left_out=plan.faults), []
    with Leases(target.folder) as leases:
        leases.remove_stale()
        for cell_id, cell in plan.cells.items():
            target.remove_replaced([cell.record.cell])
            if _is_complete(cell, target):
                continue
            if not leases.take(cell_id) or target.stamp(cell_id) != stamps.get(cell_id):
                busy.append(cell_id)
                continue
            record = _copy_files(cell, target, merged.left_out)
            if record != cell.before:
                target.write(record)
                (merged.extended if cell_id in plan.known else merged.added).append(cell_id)
            leases.release(cell_id)
    if busy:
        problem = f"another capsbench works on {len(busy)} of its cells ({busy[0]}), and the others are merged"
        raise UsageError(
            Kind.BUSY, problem, flag="out", file=target.folder, expected="repeat the command when it has ended"
        )
    return merged


def _is_complete(cell: United, target: Store) -> bool:
    """Returns true if the merged folder has the record of a cell and its files."""
    record = cell.record
    artifacts = [taken.kept for taken in record.measures.values()]
    artifacts += [] if record.training is None else [record.training.weights]
    paths = [target.folder / artifact.path for artifact in artifacts if artifact is not None]
    return record == cell.before and all(path.exists() for path in paths)


def _copy_files(cell: United, target: Store, faults: list[str]) -> Record:
    """Copies the weights and kept arrays that the merged folder lacks, and returns the record with their paths there.

    Args:
        faults: gets a line for each file that is damaged or cannot be read.
    """
    record, cell_id = cell.record, cell.record.cell.id
    training, measures = record.training, dict(record.measures)
    if training is not None and training.weights is not None:
        trainings = ((version.source, version.value.training) for version in cell.versions)
        files = [(source, other.weights) for source, other in trainings if other is not None and other.weights]
        weights = _copy_artifact(files, target.weights_path(cell_id), target, REMEDY_FOR_WEIGHTS, faults)
        training = replace(training, weights=weights)
    for spec, taken in measures.items():
        known = ((version.source, version.value.measures.get(spec)) for version in cell.versions)
        files = [(source, other.kept) for source, other in known if other is not None and other.kept]
        if taken.kept is not None:
            kept = _copy_artifact(files, target.kept_path(spec, cell_id), target, REMEDY_FOR_KEPT, faults)
            measures[spec] = replace(taken, kept=kept)
    return replace(record, training=training, measures=measures)


def _copy_artifact(
    files: Sequence[tuple[Source, Artifact]], path: Path, target: Store, remedy: str, faults: list[str]
) -> Artifact:
    """Copies the first whole one of equal files, unless the merged folder has it, and returns the artifact there.

    A file that no folder has is no fault: reference results have no weights.

    Args:
        path: the path in the merged folder, unless its record names one.
    """
    (source, first), *_ = files
    if source.is_target:
        path = target.folder / first.path
    place = path.relative_to(target.folder).as_posix()
    if source.is_target and path.exists():
        return first
    errors = []
    for source, artifact in files:
        try:
            if not source.is_target:
                original = source.store.folder / artifact.path
                return Artifact(place, copy_file(original, path, first.sha256 or artifact.sha256, remedy))
        except UsageError as error:
            errors += [] if error.kind is Kind.MISSING else [f"{error}"]
    faults += errors
    return Artifact(place, first.sha256)
