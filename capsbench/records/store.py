"""A results folder: records and what lies beside them, on disk.

A results folder holds

    records/CELL.json             one record a cell, trained or failed
    weights/CELL.safetensors      the trained weights
    kept/MEASURE/CELL.safetensors what a measure keeps beside its numbers, such as the prediction of every test image
    between/MEASURE/CELL/CELL.json the rows of a measure between two networks, from the first to the second
    runs/NUMBER-TOKEN.json        which cells one `capsbench run` was asked for
    report/                       what `capsbench report` wrote
    SHA256SUMS                    digests of records of schema 1, which have none of their own; made by hand, where there is one

Every file is written under a temporary name and renamed, the record last: a record is whole or absent, and what it names
is there. Files of schema 1 are read; what is written is of schema 2.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import TypeAdapter

from capsbench.errors import Kind, UsageError
from capsbench.records import artifacts, file, schema1
from capsbench.records.cell import Cell, Whole
from capsbench.records.disk import make_folder, probe_folder, read_file, sweep_temporaries, write_file
from capsbench.records.file import SCHEMA
from capsbench.records.join import join_records, put_on, rename_sources
from capsbench.records.parse import parse_json
from capsbench.records.record import Artifact, Facts, Measurement, Name, Record, Row, Run
from capsbench.records.retired import without_retired
from capsbench.records.runs import Notes, read_notes, write_note
from capsbench.registry import measure_name

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _RowsBetween:
    measure: Name
    source: Name
    target: Name
    rows: list[Row]
    schema: Whole
    version: Whole = schema1.VERSION
    provenance: Facts = field(default_factory=dict)
    code: Name | None = None


_BETWEEN = TypeAdapter(_RowsBetween)


class Store:
    """A results folder.

    Args:
        folder: made on the first write.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def record_path(self, cell_id: str) -> Path:
        return self.folder / "records" / f"{cell_id}.json"

    def weights_path(self, cell_id: str) -> Path:
        return self.folder / "weights" / f"{cell_id}.safetensors"

    def kept_path(self, spec: str, cell_id: str) -> Path:
        return self.folder / "kept" / spec.replace(":", ".") / f"{cell_id}.safetensors"

    def between_path(self, spec: str, source: str, target: str) -> Path:
        return self.folder / "between" / spec.replace(":", ".") / source / f"{target}.json"

    def check_writable(self) -> None:
        """Raises UsageError where nothing can be written, before anything is computed."""
        try:
            for name in ("records", "runs"):
                make_folder(self.folder / name)
            probe_folder(self.folder / "records")
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the folder for one run, and sweeps what killed ones left; raises UsageError while another run holds it.

        It is freed by the end of the process.
        """
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                Kind.BUSY,
                "another capsbench run is writing there",
                flag="out",
                file=self.folder,
                expected="wait for it or choose another folder",
            ) from None
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        try:
            sweep_temporaries([self.folder / name for name in ("records", "runs", "weights")])
            sweep_temporaries([*self.folder.glob("kept/*"), *self.folder.glob("between/*/*")])
            yield
        finally:
            lock.release()

    def write_tensors(self, path: Path, tensors: Mapping[str, Tensor]) -> Artifact:
        """Writes tensors as safetensors, whole or not at all; raises StorageFailed where the disk does not take them."""
        return Artifact(path.relative_to(self.folder).as_posix(), artifacts.write_tensors(path, tensors))

    def write(self, record: Record) -> None:
        """Writes a record, whole or not at all, in the place of those of schema 1 that it takes in.

        Raises:
            StorageFailed: the disk does not take it.
            UsageError: a newer capsbench wrote the one that is there.
        """
        path = self.record_path(record.cell.id)
        file.check_not_newer(path)
        write_file(path, file.to_bytes(record))
        for alias in record.aliases:
            self.record_path(alias).unlink(missing_ok=True)
            self._files_of_schema_1.pop(alias, None)
        self._files_of_schema_1.pop(record.cell.id, None)

    def read(self, cell_id: str) -> Record:
        """The record of a cell; raises UsageError, naming the file, for one that is absent, damaged or of a newer schema.

        Args:
            cell_id: the identity of today, or one of schema 1.
        """
        path, older = self.record_path(cell_id), self._files_of_schema_1.get(cell_id, [])
        if not older:
            return self._read(path)
        paths = older if path in older or not path.exists() else [path, *older]
        return join_records(map(self._read, paths))[0][0]

    def find(self, cell: Cell) -> Record | None:
        """The record of a cell that was trained; a damaged or failed one counts as absent."""
        try:
            record = self.read(cell.id)
        except UsageError:
            return None
        return None if record.training is None else record

    def has(self, cell: Cell) -> bool:
        """Whether the cell is on record here as trained."""
        return self.find(cell) is not None

    def records(self) -> tuple[list[Record], list[str]]:
        """All readable records, one a cell, and one line for each file that is not one and each conflict between two."""
        records, faults = [], []
        with no_collection():
            for path in sorted((self.folder / "records").glob("*.json")):
                try:
                    records.append(self._read(path))
                except UsageError as error:
                    faults.append(str(error))
            records, conflicts = join_records(records)
        names = {alias: record.cell.id for record in records for alias in record.aliases}
        return rename_sources(records, names), faults + conflicts

    def check_not_newer(self, cells: Iterable[Cell]) -> None:
        """Raises UsageError where a newer capsbench wrote what is here of a cell, which is never written over."""
        names = {cell.id for cell in cells}
        for path in [
            *map(self.record_path, sorted(names)),
            *(path for path in self._between_paths() if names & {path.parent.name, path.stem}),
        ]:
            file.check_not_newer(path)

    def check_none_newer(self) -> None:
        """Raises UsageError where a newer capsbench wrote any record here."""
        for path in (*sorted((self.folder / "records").glob("*.json")), *self._between_paths()):
            file.check_not_newer(path)

    def has_weights(self, record: Record) -> bool:
        """Whether the trained weights of a record are here."""
        return record.training is not None and self.weights_of(record).is_file()

    def weights_of(self, record: Record) -> Path:
        """Where the trained weights of a record lie, or would."""
        weights = record.training.weights if record.training else None
        return self.weights_path(record.cell.id) if weights is None else self.folder / weights.path

    def read_weights(self, record: Record) -> dict[str, Tensor]:
        """The trained weights of a record; raises UsageError where they are absent, damaged or others than it was made with."""
        weights = record.training.weights if record.training else None
        return artifacts.read_weights(self.weights_of(record), weights.sha256 if weights else None)

    def kept(self, record: Record, measure: str) -> dict[str, NDArray[Any]]:
        """What a measure kept of a cell, by its own names; nothing where there is no whole file of it, or another's.

        Args:
            measure: a spec, or a measure's name: in the setting that was taken first.
        """
        found = record.measurement(measure)
        try:
            return {} if found is None else artifacts.read_kept(self.folder, found)
        except UsageError:
            return {}

    def read_artifact(self, artifact: Artifact) -> dict[str, NDArray[Any]]:
        """The arrays of a file beside a record; nothing where it is absent, or one of `unreadable`."""
        try:
            return artifacts.read_arrays(self.folder / artifact.path, artifact.sha256)
        except UsageError:
            return {}

    def unreadable(self, records: Sequence[Record]) -> list[str]:
        """A line for each file of what measures kept of some records, and between them, that is there and cannot be read."""
        faults = [
            f"{error}; what rests on it is left out, or tested over seeds alone"
            for error in artifacts.unreadable_kept(self.folder, records)
        ]
        names = {name for record in records for name in (record.cell.id, *record.aliases)}
        between = [path for path in self._between_paths() if {path.parent.name, path.stem} <= names]
        return faults + [
            f"{path}: cannot be read; the next run makes it again" for path in between if not self._read_between(path)
        ]

    def _between_paths(self) -> list[Path]:
        return sorted((self.folder / "between").glob("*/*/*.json"))

    def write_run(
        self,
        cells: Sequence[Cell],
        command: str,
        suite: str | None = None,
        left_out: Mapping[str, str] | None = None,
        **facts: Any,
    ) -> Run:
        """Notes a new run, the latest from then on; further ``facts`` are those of `capsbench.records.runs.write_note`."""
        return write_note(self.folder / "runs", self.notes(), cells, command, suite, left_out, **facts)

    def notes(self) -> Notes:
        """The runs noted here, oldest first, and a line for each file that is not such a note."""
        return read_notes(self.folder / "runs", self._check_whole)

    def runs(self) -> list[Run]:
        """The runs noted here, oldest first; a damaged file is passed over."""
        return self.notes().runs

    def aliases(self, cell: Cell) -> list[str]:
        """The identities of schema 1 that a cell has here."""
        try:
            return self.read(cell.id).aliases
        except UsageError:
            return []

    def forget_before(self, record: Record) -> None:
        """Removes what was measured between a network and others before it was trained anew, and files of its older records.

        What measures kept of it stays until they are taken again: no record names it any more.
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
        """Writes what a measure gave from one cell to another, whole or not at all."""
        written = _RowsBetween(spec, source, target, taken.rows, SCHEMA, taken.version, taken.provenance, taken.code)
        content = {**asdict(written), "rows": file.rows_to_plain(taken.rows)}
        write_file(self.between_path(spec, source, target), file.seal(content))

    def joined(self, records: list[Record]) -> list[Record]:
        """The records, with the rows of measures between networks from any of them to any other put on those of their targets."""
        names = {name: record.cell.id for record in records for name in (record.cell.id, *record.aliases)}
        targets = {record.cell.id: record for record in records}
        latest: dict[tuple[str, str, str], _RowsBetween] = {}
        for path in self._between_paths():
            source, target = names.get(path.parent.name), names.get(path.stem)
            if source is None or target is None:
                continue
            between = self._read_between(path)
            if between is None:  # a damaged file is made again by the next run
                continue
            known = latest.get((between.measure, source, target))
            if known is None or (between.schema, between.version) >= (known.schema, known.version):
                latest[between.measure, source, target] = between
        for (spec, _, target), between in latest.items():
            targets[target] = put_on(targets[target], spec, between.rows, between.version, between.provenance)
        return rename_sources(list(targets.values()), {old: new for old, new in names.items() if old != new})

    def has_between(self, spec: str, source: Record, target: Record, version: int, code: str | None = None) -> bool:
        """Whether the rows of a measure from one cell to another are here, of that version and source, in a whole file."""
        paths = (
            self.between_path(name, one, other)
            for one in (source.cell.id, *source.aliases)
            for other in (target.cell.id, *target.aliases)
            for name in (spec, measure_name(spec))
        )
        found = (between for path in paths if (between := self._read_between(path)) is not None)
        return any((each.measure, each.version, each.code) == (spec, version, code) for each in found)

    def _read_between(self, path: Path) -> _RowsBetween | None:
        try:
            content = read_file(path)
            self._check_whole(path, content)
            return parse_json(_BETWEEN, content)
        except (OSError, ValueError):  # UsageError is one
            return None

    def _check_whole(self, path: Path, content: bytes) -> None:
        """Raises UsageError for a file that was changed since it was written, as far as that can be known."""
        if file.is_sealed(content) or file.schema_of(content) == SCHEMA:
            file.check_seal(path, content)
        else:
            self._check_sum(path, content)

    def _read(self, path: Path) -> Record:
        try:
            content = read_file(path)
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
            raise UsageError(Kind.INACCESSIBLE, problem, file=path) from error
        if file.is_sealed(content):
            return without_retired(file.from_bytes(path, content))
        self._check_sum(path, content)
        return without_retired(schema1.from_bytes(path, content, self._sums))

    def _check_sum(self, path: Path, content: bytes) -> None:
        """Raises UsageError for a file whose digest is known and another."""
        known = self._sums.get(path.relative_to(self.folder).as_posix())
        if known not in (None, hashlib.sha256(content).hexdigest()):
            problem = f"not as it was written: its digest is not that of {schema1.SUMS}"
            raise UsageError(Kind.DAMAGED, problem, file=path, expected=file.RUN_AGAIN)

    @cached_property
    def _sums(self) -> dict[str, str]:
        return schema1.read_sums(self.folder)

    @cached_property
    def _files_of_schema_1(self) -> dict[str, list[Path]]:
        """Identity, of today and of schema 1, -> the files of schema 1 that hold a record of that cell."""
        known: dict[str, list[Path]] = {}
        for path in sorted((self.folder / "records").glob("*.json")):
            try:
                record = None if file.is_sealed(read_file(path)) else self._read(path)
            except (OSError, UsageError):
                continue
            if record is not None:
                for identity in (record.cell.id, *record.aliases):
                    known.setdefault(identity, []).append(path)
        return known


def _unwritable(folder: Path, error: OSError) -> UsageError:
    return UsageError(Kind.INACCESSIBLE, f"cannot be written: {error.strerror}", flag="out", file=folder)


@contextmanager
def no_collection() -> Iterator[None]:
    """Keeps the garbage collector from walking through what is read, again and again: a third of the time of a large folder."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
