"""A results folder on disk: records and the files beside them.

A results folder holds

    records/CELL.json             one record a cell, trained or failed
    weights/CELL.safetensors      the trained weights
    checkpoints/CELL.safetensors  the state of a training that was interrupted or is underway
    kept/MEASURE/CELL.safetensors the arrays that a measure keeps, such as the prediction of every test image
    between/MEASURE/CELL/CELL.json the rows of a measure between two networks, from the first to the second
    runs/NUMBER-TOKEN.json        the cells of one `capsbench run`
    requirements/DIGEST.txt       the versions of the packages of runs (`capsbench.records.software.requirements`)
    trials/                       a results folder of its own: the trials of searches (`capsbench.records.tuning.trials`)
    report/                       the output of `capsbench report`
    leases/CELL.GENERATION.json   who works on a cell at the moment (`capsbench.records.sharing.leases`)
    SHA256SUMS                    digests of records of schema 1, which have none themselves; optional, made by hand

Every file is written under a temporary name and renamed, the record last: a record is whole or absent, and the files that it
names exist. Files of schema 1 and 2 are read, and files of schema 2 are written.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from capsbench.errors import Kind, UsageError
from capsbench.records import artifacts, between, file, schema1
from capsbench.records.between import RowsBetween
from capsbench.records.cell import Cell
from capsbench.records.disk import find_temporaries, make_folder, probe_folder, read_file, write_file
from capsbench.records.file import SCHEMA
from capsbench.records.join import add_measurement, join_records, rename_conditions, rename_sources
from capsbench.records.record import Artifact, Measurement, Record, Run
from capsbench.records.runs import Notes, read_note_files, read_notes, write_note
from capsbench.records.software.requirements import FOLDER as REQUIREMENTS
from capsbench.records.specs import remove_retired
from capsbench.registry import measure_name

if TYPE_CHECKING:
    from torch import Tensor


class Store:
    """A results folder.

    Args:
        folder: the folder, which is made on the first write.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def record_path(self, cell_id: str) -> Path:
        return self.folder / "records" / f"{cell_id}.json"

    def stamp(self, cell_id: str) -> tuple[int, int, int] | None:
        """Returns what changes whenever the record of a cell is written; None if it has none."""
        try:
            status = self.record_path(cell_id).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size

    def weights_path(self, cell_id: str) -> Path:
        return self.folder / "weights" / f"{cell_id}.safetensors"

    def checkpoint_path(self, cell_id: str) -> Path:
        return self.folder / "checkpoints" / f"{cell_id}.safetensors"

    def list_checkpoints(self) -> set[str]:
        """Returns the identities of the cells that have a checkpoint."""
        return {path.stem for path in self.folder.glob("checkpoints/*.safetensors")}

    def remove_checkpoint(self, cell_id: str) -> None:
        self.checkpoint_path(cell_id).unlink(missing_ok=True)

    def kept_path(self, spec: str, cell_id: str) -> Path:
        return self.folder / "kept" / spec.replace(":", ".") / f"{cell_id}.safetensors"

    def between_path(self, spec: str, source: str, target: str) -> Path:
        return self.folder / "between" / spec.replace(":", ".") / source / f"{target}.json"

    def check_writable(self) -> None:
        """Raises UsageError if the folder cannot be written, so that a run fails before it computes anything."""
        try:
            for name in ("records", "runs"):
                make_folder(self.folder / name)
            probe_folder(self.folder / "records")
        except OSError as error:
            raise _to_usage_error(self.folder, error) from error

    def sweep(self) -> None:
        """Removes the temporary files of killed processes."""
        for path in self.find_temporaries():
            path.unlink(missing_ok=True)

    def find_temporaries(self) -> Iterator[Path]:
        """Yields the temporary files that killed processes left."""
        folders = [self.folder / name for name in ("records", "runs", "weights", "checkpoints", REQUIREMENTS)]
        return find_temporaries([*folders, *self.folder.glob("kept/*"), *self.folder.glob("between/*/*")])

    def write_tensors(self, path: Path, tensors: Mapping[str, Tensor]) -> Artifact:
        """Writes tensors as safetensors, completely or not at all; raises StorageFailed."""
        return Artifact(path.relative_to(self.folder).as_posix(), artifacts.write_tensors(path, tensors))

    def write(self, record: Record) -> None:
        """Writes a record, completely or not at all, and removes the records of schema 1 that it replaces.

        Raises:
            StorageFailed: the file cannot be written, or could not be read afterwards.
            UsageError: a newer capsbench wrote the existing record.
        """
        path = self.record_path(record.cell.id)
        file.check_not_newer(path)
        write_file(path, file.to_readable_bytes(path, record))
        with suppress(OSError):  # `remove_replaced` removes them later
            for alias in record.aliases:
                self.record_path(alias).unlink(missing_ok=True)
                self._files_of_schema_1.pop(alias, None)
            self._files_of_schema_1.pop(record.cell.id, None)

    def remove_replaced(self, cells: Iterable[Cell]) -> None:
        """Removes records of schema 1 that stayed beside those that replaced them: `write` was killed, or the disk refused."""
        for cell in cells:
            path, older = self.record_path(cell.id), self._files_of_schema_1.get(cell.id, [])
            if older and path not in older and path.exists():
                # A damaged record has replaced nothing, and what the disk refuses waits for the next command.
                with suppress(UsageError, OSError):
                    for alias in self._read_record(path).aliases:
                        self.record_path(alias).unlink(missing_ok=True)
                    del self._files_of_schema_1  # it is read again: other files of this cell may remain

    def read(self, cell_id: str) -> Record:
        """Reads the record of a cell; raises UsageError if it is absent, damaged or of a newer schema.

        Args:
            cell_id: the current identity, or one of schema 1.
        """
        path, older = self.record_path(cell_id), self._files_of_schema_1.get(cell_id, [])
        if not older:
            return self._read_record(path)
        paths = older if path in older or not path.exists() else [path, *older]
        return join_records(map(self._read_record, paths))[0][0]

    def find(self, cell: Cell) -> Record | None:
        """Returns the record of a trained cell; None if it is absent, damaged or failed."""
        try:
            record = self.read(cell.id)
        except UsageError:
            return None
        return None if record.training is None else record

    def has(self, cell: Cell) -> bool:
        """Returns true if the cell is on record as trained."""
        return self.find(cell) is not None

    def records(self) -> tuple[list[Record], list[str]]:
        """Reads all records, one a cell; and a line for each unreadable file and each conflict between two records."""
        self.__dict__.pop("_sums", None)  # an update may have replaced the digests that were read before
        records, faults = [], []
        with pause_collection():
            for path in sorted((self.folder / "records").glob("*.json")):
                try:
                    records.append(self._read_record(path))
                except UsageError as error:
                    faults.append(str(error))
            records, conflicts = join_records(records)
        names = {alias: record.cell.id for record in records for alias in record.aliases}
        return rename_sources(records, names), faults + conflicts

    def check_not_newer(self, cells: Iterable[Cell]) -> None:
        """Raises UsageError if a newer capsbench wrote a file of these cells, which must not be overwritten."""
        names = {cell.id for cell in cells}
        for path in [
            *map(self.record_path, sorted(names)),
            *(path for path in self.between_paths() if names & {path.parent.name, path.stem}),
        ]:
            file.check_not_newer(path)

    def check_none_newer(self) -> None:
        """Raises UsageError if a newer capsbench wrote any record of the folder."""
        for path in (*sorted((self.folder / "records").glob("*.json")), *self.between_paths()):
            file.check_not_newer(path)

    def has_weights(self, record: Record) -> bool:
        """Returns true if the file of the trained weights exists."""
        return record.training is not None and self.weights_of(record).is_file()

    def weights_of(self, record: Record) -> Path:
        """Returns the path of the trained weights, which may not exist."""
        weights = record.training.weights if record.training else None
        return self.weights_path(record.cell.id) if weights is None else self.folder / weights.path

    def read_weights(self, record: Record) -> dict[str, Tensor]:
        """Reads the trained weights of a record; raises UsageError if they are absent, damaged or do not belong to it."""
        weights = record.training.weights if record.training else None
        return artifacts.read_weights(self.weights_of(record), weights.sha256 if weights else None)

    def kept(self, record: Record, measure: str) -> dict[str, NDArray[Any]]:
        """Reads the arrays that a measure kept; empty if their file is absent, damaged or belongs to another record.

        Args:
            measure: a spec, or a measure's name for the setting that was taken first.
        """
        taken = record.find_measurement(measure)
        try:
            return {} if taken is None else artifacts.read_kept(self.folder, taken)
        except UsageError:
            return {}

    def read_artifact(self, artifact: Artifact) -> dict[str, NDArray[Any]]:
        """Reads the arrays of a file beside a record; empty if it is absent or unreadable."""
        try:
            return artifacts.read_arrays(self.folder / artifact.path, artifact.sha256)
        except UsageError:
            return {}

    def list_unreadable(self, records: Sequence[Record]) -> list[str]:
        """Returns a line for each unreadable file of kept arrays, or of rows between two of the records."""
        faults = [
            f"{error}; numbers that need it are left out, or tested over seeds alone"
            for error in artifacts.find_unreadable_kept(self.folder, records)
        ]
        names = {name for record in records for name in (record.cell.id, *record.aliases)}
        for path in sorted(self.between_paths()):
            if {path.parent.name, path.stem} <= names:
                try:
                    self.read_between(path)
                except UsageError as error:
                    faults.append(str(error))
        return faults

    def between_paths(self) -> list[Path]:
        """Returns the files of rows between networks."""
        return sorted((self.folder / "between").glob("*/*/*.json"))

    def write_run(
        self,
        cells: Sequence[Cell],
        command: str,
        suite: str | None = None,
        left_out: Mapping[str, str] | None = None,
        **facts: Any,
    ) -> Run:
        """Writes the note of a new run; further ``facts`` are those of `capsbench.records.runs.write_note`."""
        return write_note(self.folder / "runs", self.read_notes(), cells, command, suite, left_out, **facts)

    def read_notes(self) -> Notes:
        """Reads the notes of runs, oldest first."""
        return read_notes(self.folder / "runs", self._check_whole)

    def read_note_files(self) -> tuple[dict[Path, Run], dict[Path, str]]:
        """Reads the files of the notes, see `capsbench.records.runs.read_note_files`."""
        return read_note_files(self.folder / "runs", self._check_whole)

    def runs(self) -> list[Run]:
        """Returns the runs noted in the folder, oldest first, without unreadable notes."""
        return self.read_notes().runs

    def aliases_of(self, cell: Cell) -> list[str]:
        """Returns the identities of schema 1 that a cell has in this folder."""
        try:
            return self.read(cell.id).aliases
        except UsageError:
            return []

    def remove_outdated(self, record: Record) -> None:
        """Removes files that a new training made outdated: rows between the network and others, and files of records of schema 1.

        Kept arrays stay until their measures are taken again, since no record names them any more.
        """
        for cell_id in (record.cell.id, *record.aliases):
            for path in [
                *self.folder.glob(f"between/*/{cell_id}/*.json"),
                *self.folder.glob(f"between/*/*/{cell_id}.json"),
            ]:
                path.unlink(missing_ok=True)
        for alias in record.aliases:
            for path in [*self.folder.glob(f"kept/*/{alias}.safetensors"), self.weights_path(alias)]:
                path.unlink(missing_ok=True)

    def write_between(self, spec: str, source: str, target: str, taken: Measurement) -> None:
        """Writes the rows of a measure from one cell to another, completely or not at all."""
        write_file(self.between_path(spec, source, target), between.to_bytes(spec, source, target, taken))

    def add_between(self, records: list[Record]) -> list[Record]:
        """Adds the rows of measures between networks, from any of the records to any other, to the records of their targets."""
        names = {name: record.cell.id for record in records for name in (record.cell.id, *record.aliases)}
        latest: dict[tuple[str, str, str], RowsBetween] = {}
        for path in self.between_paths():
            source, target = names.get(path.parent.name), names.get(path.stem)
            if source is None or target is None:
                continue
            rows = self._find_between(path)
            if rows is None:  # the next run writes a damaged file again
                continue
            known = latest.get((rows.measure, source, target))
            if known is None or (rows.schema, rows.version) >= (known.schema, known.version):
                latest[rows.measure, source, target] = rows
        aliases = {old: new for old, new in names.items() if old != new}
        targets = {record.cell.id: record for record in rename_sources(records, aliases)}
        for (spec, _, target), rows in latest.items():
            taken = rename_conditions(rows.to_measurement(), aliases)
            targets[target] = add_measurement(targets[target], spec, taken)
        return list(targets.values())

    def has_between(self, spec: str, source: Record, target: Record, version: int, code: str | None = None) -> bool:
        """Returns true if readable rows of a measure from one cell to another exist, of this version and source code."""
        paths = (
            self.between_path(name, one, other)
            for one in (source.cell.id, *source.aliases)
            for other in (target.cell.id, *target.aliases)
            for name in (spec, measure_name(spec))
        )
        readable = (rows for path in paths if (rows := self._find_between(path)) is not None)
        return any((rows.measure, rows.version, rows.code) == (spec, version, code) for rows in readable)

    def _find_between(self, path: Path) -> RowsBetween | None:
        """Reads the rows of a file between two networks; None if it is absent or damaged."""
        try:
            return self.read_between(path)
        except UsageError:
            return None

    def read_between(self, path: Path) -> RowsBetween:
        """Reads the rows of a file between two networks; raises UsageError if it is damaged."""
        content = read_content(path)
        self._check_whole(path, content)
        return between.from_bytes(path, content)

    def _check_whole(self, path: Path, content: bytes) -> None:
        """Raises UsageError for a file that was changed after it was written, if it has a digest."""
        if file.is_sealed(content) or file.schema_of(content) == SCHEMA:
            file.check_seal(path, content)
        else:
            self._check_sum(path, content)

    def _read_record(self, path: Path) -> Record:
        content = read_content(path)
        if file.is_sealed(content):
            return remove_retired(file.from_bytes(path, content))
        self._check_sum(path, content)
        return remove_retired(schema1.from_bytes(path, content, self._sums))

    def _check_sum(self, path: Path, content: bytes) -> None:
        """Raises UsageError if SHA256SUMS has another digest for the file."""
        known = self._sums.get(path.relative_to(self.folder).as_posix())
        if known not in (None, hashlib.sha256(content).hexdigest()):
            problem = f"not as it was written: its digest is not that of {schema1.SUMS}"
            raise UsageError(Kind.DAMAGED, problem, file=path, expected=file.RUN_AGAIN)

    @cached_property
    def _sums(self) -> dict[str, str]:
        return schema1.read_sums(self.folder)

    @cached_property
    def _files_of_schema_1(self) -> dict[str, list[Path]]:
        """Current identity, or one of schema 1, -> the files of schema 1 with records of that cell."""
        known: dict[str, list[Path]] = {}
        for path in sorted((self.folder / "records").glob("*.json")):
            try:
                record = None if file.is_sealed(read_file(path)) else self._read_record(path)
            except (OSError, UsageError):
                continue
            if record is not None:
                for identity in (record.cell.id, *record.aliases):
                    known.setdefault(identity, []).append(path)
        return known


def read_content(path: Path) -> bytes:
    """Reads a file; raises UsageError if it cannot be read."""
    try:
        return read_file(path)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise UsageError(Kind.INACCESSIBLE, problem, file=path) from error


def _to_usage_error(folder: Path, error: OSError) -> UsageError:
    return UsageError(Kind.INACCESSIBLE, f"cannot be written: {error.strerror}", flag="out", file=folder)


@contextmanager
def pause_collection() -> Iterator[None]:
    """Disables the garbage collector, which takes a third of the time to read a large folder: nothing in it is garbage yet."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
