"""Records on disk <-> tidy tables.

A results folder holds

    records/CELL.json             one record a cell, finished or failed
    weights/CELL.safetensors      the trained weights
    kept/MEASURE/CELL.safetensors what a measure keeps beside its numbers, such as the prediction of every test image
    between/MEASURE/CELL/CELL.json the rows of a measure between two networks, from the first to the second
    runs/TIME-NAME.json           which cells one `capsbench run` was asked for
    report/                       what `capsbench report` wrote

Every file is written under a temporary name and renamed, the record last: a record is whole or absent, and what it names
is there.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from capsbench.errors import Kind, StorageFailed, UsageError, reason_of
from capsbench.records.cell import Cell
from capsbench.records.record import SCHEMA, Record, Row, Run

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class _Written(Record):
    """A record as its file has it."""

    schema: int
    id: str

    def record(self) -> Record:
        return Record(**{each.name: getattr(self, each.name) for each in fields(Record)})


_WRITTEN = TypeAdapter(_Written)
_ROWS = TypeAdapter(list[Row])
_RUN = TypeAdapter(Run)


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

    def run_path(self, name: str) -> Path:
        return self.folder / "runs" / f"{name}.json"

    def kept_path(self, measure: str, cell_id: str) -> Path:
        return self.folder / "kept" / measure.replace(":", ".") / f"{cell_id}.safetensors"

    def check_writable(self) -> None:
        """Raises UsageError where nothing can be written, before anything is computed."""
        try:
            for name in ("records", "runs"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder / "records") as probe:
                probe.write(b"\0" * 4096)
        except OSError as error:
            problem = f"cannot be written: {error.strerror}"
            raise UsageError(Kind.INACCESSIBLE, problem, flag="out", file=self.folder) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the folder for one run; raises UsageError while another run holds it. Freed by the end of the process."""
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
        try:
            yield
        finally:
            lock.release()

    def write_tensors(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        """Writes tensors as safetensors, whole or not at all; raises StorageFailed where the disk does not take them."""
        from safetensors.torch import save_file  # who only reads records needs no torch, which takes seconds to import

        with _replacing(path) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)

    def write(self, record: Record) -> None:
        """Writes a record, whole or not at all; raises StorageFailed where the disk does not take it."""
        content = {
            "schema": SCHEMA,
            "id": record.cell.id,
            "status": record.status,
            "reason": record.reason,
            "cell": record.cell.model_dump(mode="json"),
            "rows": _plain(record.rows),
            "history": record.history,
            "provenance": record.provenance,
            "measured": record.measured,
        }
        _write_json(self.record_path(record.cell.id), content)

    def read(self, cell_id: str) -> Record:
        """The record of a cell; raises UsageError, naming the file, for one that is absent, damaged or of another schema."""
        return _read(self.record_path(cell_id))

    def has(self, cell: Cell) -> bool:
        """Whether the cell is on record here as trained or finished; a damaged or failed record counts as absent."""
        try:
            return self.read(cell.id).status != "failed"
        except UsageError:
            return False

    def records(self) -> tuple[list[Record], list[str]]:
        """All readable records, and one line for each file that is not one."""
        records, faults = [], []
        with no_collection():
            for path in sorted((self.folder / "records").glob("*.json")):
                try:
                    records.append(_read(path))
                except UsageError as error:
                    faults.append(str(error))
        return records, faults

    def write_run(
        self, cells: list[Cell], command: str, suite: str | None = None, left_out: Mapping[str, str] | None = None
    ) -> Run:
        """Notes a new run; the newest is the one that `report` takes."""
        now = datetime.now(UTC)
        name, started = now.strftime("%Y%m%dT%H%M%S.%f"), now.isoformat(timespec="seconds")
        run = Run(name, started, command, [cell.id for cell in cells], suite, dict(left_out or {}))
        _write_json(self.run_path(name), {"schema": SCHEMA, **asdict(run)})
        return run

    def runs(self) -> list[Run]:
        """The runs noted here, oldest first; a damaged file is passed over."""
        return self.noted_runs()[0]

    def noted_runs(self) -> tuple[list[Run], list[str]]:
        """The runs noted here, oldest first, and one line for each file that is not such a note."""
        runs, faults = [], []
        for path in sorted((self.folder / "runs").glob("*.json")):
            try:
                runs.append(_RUN.validate_json(path.read_bytes()))
            except OSError as error:
                faults.append(f"{path}: cannot be read: {error.strerror}")
            except ValidationError as error:
                faults.append(
                    f"{path}: not a whole note of a run ({_fault(error)}); the same `capsbench run` leaves another"
                )
        return runs, faults

    def kept(self, measure: str, cell_id: str) -> dict[str, NDArray[Any]]:
        """What a measure kept of a cell, by its own names; nothing where there is no whole file of it."""
        try:
            return load_file(self.kept_path(measure, cell_id))
        except (OSError, SafetensorError):
            return {}

    def forget_measured(self, cell_id: str) -> None:
        """Removes what measures kept of a cell and measured between it and others, as its network is trained anew."""
        for path in [
            *self.folder.glob(f"kept/*/{cell_id}.safetensors"),
            *self.folder.glob(f"between/*/{cell_id}/*.json"),
            *self.folder.glob(f"between/*/*/{cell_id}.json"),
        ]:
            path.unlink(missing_ok=True)

    def between_path(self, measure: str, source: str, target: str) -> Path:
        return self.folder / "between" / measure.replace(":", ".") / source / f"{target}.json"

    def write_between(self, measure: str, source: str, target: str, rows: list[Row]) -> None:
        """Writes the rows of a measure from one cell to another, whole or not at all."""
        content = {"schema": SCHEMA, "measure": measure, "source": source, "target": target, "rows": _plain(rows)}
        _write_json(self.between_path(measure, source, target), content)

    def joined(self, records: list[Record]) -> list[Record]:
        """The records, with the rows of measures between networks from any of them to any other put on those of their targets."""
        targets = {record.cell.id: record for record in records}
        for path in sorted((self.folder / "between").glob("*/*/*.json")):
            target = targets.get(path.stem)
            if target is not None and path.parent.name in targets:
                rows = _rows_between(path) or []  # a damaged file is made again by the next run
                targets[path.stem] = replace(target, rows=[*target.rows, *rows])
        return list(targets.values())

    def has_between(self, measure: str, source: str, target: str) -> bool:
        """Whether the rows of a measure from one cell to another are here, in a whole file."""
        return _rows_between(self.between_path(measure, source, target)) is not None


def _read(path: Path) -> Record:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(Kind.INACCESSIBLE, f"cannot be read: {error.strerror}", file=path) from error
    try:
        written = _WRITTEN.validate_json(content)
        schema: object = written.schema
    except ValidationError as error:
        schema = _schema_of(content)
        if schema in (None, SCHEMA):
            problem = f"not a whole record ({_fault(error)})"
            raise UsageError(Kind.DAMAGED, problem, file=path, expected="delete it and run its cell again") from error
    if schema != SCHEMA:
        problem = f"a record of schema {schema}, this capsbench reads {SCHEMA}"
        raise UsageError(Kind.DAMAGED, problem, file=path, value=schema, expected="run its cell again")
    if not written.id == written.cell.id == path.stem:
        problem = "holds another cell, or one of an older protocol"
        raise UsageError(
            Kind.DAMAGED, problem, file=path, value=written.id, expected="delete it and run its cell again"
        )
    return written.record()


def _fault(error: ValidationError) -> str:
    """What is wrong with a file first, and where in it: ``rows.3.value: input should be a finite number``."""
    where = ".".join(map(str, error.errors()[0]["loc"]))
    return f"{where}: {reason_of(error)}" if where else reason_of(error)


def _schema_of(content: bytes) -> object:
    try:
        return json.loads(content)["schema"]
    except (ValueError, KeyError, TypeError):
        return None


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


def _rows_between(path: Path) -> list[Row] | None:
    try:
        return _ROWS.validate_python(json.loads(path.read_text())["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _plain(rows: list[Row]) -> list[dict[str, Any]]:
    return [{name: fact for name, fact in row._asdict().items() if fact is not None} for row in rows]


def _write_json(path: Path, content: Any) -> None:
    with _replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place once the block has ended well; raises StorageFailed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise StorageFailed(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
