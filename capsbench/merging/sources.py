"""The folders to merge, read as a whole before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from capsbench.errors import Kind, UsageError
from capsbench.records.folder import check_folder
from capsbench.records.join import rename_conditions
from capsbench.records.record import Measurement, Record, Run
from capsbench.records.runs import find_left_to_retrain
from capsbench.records.store import Store
from capsbench.records.swap import read_whole


class Pair(NamedTuple):
    """A measure between two networks: its spec, and the present identities of the source and the target."""

    spec: str
    source: str
    target: str


class RowsFile(NamedTuple):
    """A file of rows between two networks, and its rows with present identities."""

    path: Path
    schema: int
    taken: Measurement


@dataclass(frozen=True, eq=False)
class Source:
    """A results folder to merge.

    Attributes:
        is_target: true for the folder that is merged into.
        records: cell identity -> record.
        between: the rows of measures between networks on record.
        notes: file -> note of a run, oldest first.
        left: the cells that fresh runs were to train again and have not yet.
        faults: a line for each file that cannot be read.
    """

    store: Store
    is_target: bool
    records: Mapping[str, Record]
    between: Mapping[Pair, RowsFile]
    notes: Mapping[Path, Run]
    left: frozenset[str]
    faults: Sequence[str]

    @property
    def number(self) -> int:
        """The number of the latest run; 0 without a note, and if no note has a number (schema 1)."""
        return max((note.sequence or 0 for note in self.notes.values()), default=0)

    @property
    def latest(self) -> dict[Path, Run]:
        """The notes of the latest run: those of the highest number, or the last of those without a number."""
        if self.number:
            return {path: note for path, note in self.notes.items() if note.sequence == self.number}
        return dict([*self.notes.items()][-1:])


def read_sources(folders: Sequence[Path], out: Path) -> list[Source]:
    """Reads the folders to merge, each once: first the one that is merged into, if it exists, then in the order given.

    Raises:
        UsageError: one is not a folder of records, or has files of a newer capsbench.
    """
    target = Store(out)
    stores = {out.resolve(): target} if any((out / name).is_dir() for name in ("records", "runs")) else {}
    for folder in folders:
        stores.setdefault(folder.resolve(), Store(folder))
    return [_read_source(store, is_target=store is target) for store in stores.values()]


def find_preferred(sources: Iterable[Source], prefer: Sequence[Path]) -> list[Source]:
    """Returns the sources of some folders; raises UsageError for a folder that is not merged."""
    by_folder = {source.store.folder.resolve(): source for source in sources}
    for folder in prefer:
        if folder.resolve() not in by_folder:
            known = [str(source.store.folder) for source in by_folder.values()]
            raise UsageError(Kind.UNKNOWN, flag="prefer", value=str(folder), expected=known)
    return [by_folder[folder.resolve()] for folder in prefer]


def _read_source(store: Store, *, is_target: bool) -> Source:
    flag = "out" if is_target else "FOLDER"
    check_folder(store, flag)
    store.check_none_newer()
    return read_whole(store.folder, flag, lambda: _read_parts(store, is_target))


def _read_parts(store: Store, is_target: bool) -> Source:
    records, faults = store.records()
    between, faults_between = _read_between(store, records)
    notes, faults_of_notes = store.read_note_files()
    left = frozenset(record.cell.id for record in find_left_to_retrain(notes.values(), records))
    return Source(
        store,
        is_target,
        {record.cell.id: record for record in records},
        between,
        dict(sorted(notes.items(), key=lambda entry: entry[1].sequence or 0)),
        left,
        [*faults, *faults_between, *faults_of_notes.values()],
    )


def _read_between(store: Store, records: Iterable[Record]) -> tuple[dict[Pair, RowsFile], list[str]]:
    """Returns the rows between any two of the records, and a line for each unreadable file of such rows."""
    names = {name: record.cell.id for record in records for name in (record.cell.id, *record.aliases)}
    files: dict[Pair, RowsFile] = {}
    faults = []
    for path in store.between_paths():
        source, target = names.get(path.parent.name), names.get(path.stem)
        if source is None or target is None:
            continue
        try:
            rows = store.read_between(path)
        except UsageError as error:
            faults.append(str(error))
            continue
        pair = Pair(rows.measure, source, target)
        file = RowsFile(path, rows.schema, rename_conditions(rows.to_measurement(), names))
        known = files.get(pair)
        # A pair has two files if it was measured under an identity of schema 1 too (`Store.add_between` has the same rule).
        if known is None or (file.schema, file.taken.version) >= (known.schema, known.taken.version):
            files[pair] = file
    return files, faults
