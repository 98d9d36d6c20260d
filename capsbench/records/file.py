"""The file of a record in schema 2: JSON whose first line has a digest of all other lines.

    {"digest": "SHA-256 of what follows this line",
     "schema": 2,
     "id": ...

So any changed byte is noticed. The facts of a machine are written once, under ``provenances``; entries refer to them by index.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter

from capsbench.errors import Kind, StorageFailed, UsageError
from capsbench.records.disk import read_file
from capsbench.records.parse import UnfitError, parse_json
from capsbench.records.record import (
    TRAINING,
    Facts,
    Measurement,
    Name,
    Record,
    Row,
    Segment,
    Training,
    explain_unfit,
    find_repeated_number,
    is_folder_name,
)

SCHEMA = 2
"""The layout of new files; files of schema 1 can be read too."""

_SEAL = re.compile(rb'\{"digest": "([0-9a-f]{64})",')

_SCHEMA_LINE = re.compile(rb' "schema": (\d+),\n')

Entry = TypeVar("Entry", Training, Measurement, Segment)

RUN_AGAIN = "delete it and run its cell again"


@dataclass(frozen=True)
class _WrittenSegment(Segment):
    machine: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class _WrittenTraining(Training):
    segments: Sequence[_WrittenSegment] = ()
    machine: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class _WrittenMeasurement(Measurement):
    machine: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class _Written(Record):
    """A record as it is in its file: ``machine`` replaces ``provenance`` and is an index into ``provenances``."""

    training: _WrittenTraining | None = None
    measures: Mapping[str, _WrittenMeasurement] = field(default_factory=dict)
    provenances: list[Facts] = field(default_factory=list)
    schema: int = SCHEMA
    id: Name = ""


_WRITTEN = TypeAdapter(_Written)


def to_bytes(record: Record) -> bytes:
    """Returns the content of a record's file."""
    machines: list[dict[str, Any]] = []

    def to_plain(entry: Training | Measurement | Segment) -> dict[str, Any]:
        if entry.provenance not in machines:
            machines.append(entry.provenance)
        plain = {part.name: getattr(entry, part.name) for part in fields(entry) if part.name != "provenance"}
        if plain.get("declaration", ...) is None:  # only a user's own measure has one
            del plain["declaration"]
        if "rows" in plain:
            plain["rows"] = rows_to_plain(plain["rows"])
        if "segments" in plain:
            plain["segments"] = [to_plain(segment) for segment in plain["segments"]]
        return plain | {"machine": machines.index(entry.provenance)}

    content = {
        "schema": SCHEMA,
        "id": record.cell.id,
        "role": record.role,
        **({} if record.tuning is None else {"tuning": record.tuning}),
        **({} if record.convergence is None else {"convergence": record.convergence}),
        "request": record.request,
        "wanted": record.wanted,
        "aliases": record.aliases,
        "cell": record.cell.model_dump(mode="json"),
        "training": None if record.training is None else to_plain(record.training),
        "measures": {spec: to_plain(measurement) for spec, measurement in record.measures.items()},
        "failures": record.failures,
        "provenances": machines,
    }
    return seal_json(content)


def to_readable_bytes(path: Path, record: Record) -> bytes:
    """Returns the content of a record's file; raises StorageFailed if it could not be read afterwards."""
    content = to_bytes(record)
    try:
        from_bytes(path, content)
    except UsageError as error:
        raise StorageFailed(f"{path}: not written, since it could not be read: {error.problem}") from error
    return content


def seal_json(content: dict[str, Any]) -> bytes:
    """Returns JSON with a digest of itself in its first line; raises ValueError for a number that is not finite."""
    text = json.dumps(content, indent=1, allow_nan=False, default=asdict).encode() + b"\n"
    body = text.removeprefix(b"{\n")
    return b'{"digest": "' + hashlib.sha256(body).hexdigest().encode() + b'",\n' + body


def is_sealed(content: bytes) -> bool:
    """Returns true if the content begins with a seal of `seal_json`."""
    return _SEAL.fullmatch(content.partition(b"\n")[0]) is not None


def is_whole(content: bytes) -> bool:
    """Returns true if the content is sealed and matches its digest."""
    first, _, body = content.partition(b"\n")
    digest = _SEAL.fullmatch(first)
    return digest is not None and hashlib.sha256(body).hexdigest().encode() == digest[1]


def check_seal(path: Path, content: bytes) -> None:
    """Raises UsageError for a sealed file that was changed or truncated after it was written."""
    if not is_whole(content):
        raise UsageError(Kind.DAMAGED, "not as it was written: its digest differs", file=path, expected=RUN_AGAIN)


def from_bytes(path: Path, content: bytes) -> Record:
    """Returns the record of a sealed file; raises UsageError for a damaged file or a newer schema."""
    schema = schema_of(content)
    if _is_newer(schema):  # a newer schema may compute its digest in another way
        check_schema(path, schema)
    check_seal(path, content)
    check_schema(path, schema)
    try:
        written = parse_json(_WRITTEN, content)
        training = (
            None if written.training is None else _with_provenance(Training, written.training, written.provenances)
        )
        measures = {
            spec: _with_provenance(Measurement, measurement, written.provenances)
            for spec, measurement in written.measures.items()
        }
    except UnfitError as error:
        raise UsageError(Kind.DAMAGED, f"not a whole record ({error})", file=path, expected=RUN_AGAIN) from error
    except IndexError:
        problem = "not a whole record (it names provenances that it does not have)"
        raise UsageError(Kind.DAMAGED, problem, file=path, expected=RUN_AGAIN) from None
    if training is None and TRAINING not in written.failures:
        problem = "not a whole record (neither a training nor why it failed)"
        raise UsageError(Kind.DAMAGED, problem, file=path, expected=RUN_AGAIN)
    if not written.id == written.cell.id == path.stem:
        problem = "holds another cell, or one of another protocol"
        raise UsageError(Kind.DAMAGED, problem, file=path, expected=RUN_AGAIN)
    shared = {part.name: getattr(written, part.name) for part in fields(Record)}
    record = Record(**{**shared, "training": training, "measures": measures})
    check_entries(path, record)
    return record


def check_entries(path: Path, record: Record) -> None:
    """Raises UsageError for entries that no run writes.

    These are a measure whose name cannot be that of a folder, a number twice, one that no measurement gives, and a measure's
    number among those of the training.
    """
    odd = next((spec for spec in record.measures if not is_folder_name(spec)), None)
    if odd is not None:
        problem = f"not a whole record ({odd[:200]!r} is no name of a measure)"
        raise UsageError(Kind.DAMAGED, problem, file=path, expected=RUN_AGAIN)
    foreign = next((row for row in (record.training.rows if record.training else ()) if row.measure != TRAINING), None)
    if foreign is not None:
        problem = f"not a whole record (its training has {_name(foreign)!r}, a number of a measure)"
        raise UsageError(Kind.DAMAGED, problem, file=path, expected=RUN_AGAIN)
    for row in record.rows:
        unfit = explain_unfit(row)
        if unfit is not None:
            problem = f"not a whole record (its {_name(row)!r} is {unfit})"
            raise UsageError(Kind.DAMAGED, problem, file=path, expected=RUN_AGAIN)
    twice = find_repeated_number(record)
    if twice is not None:
        problem = f"not a whole record (it has {_name(twice)!r} twice)"
        raise UsageError(Kind.DAMAGED, problem, file=path, expected=RUN_AGAIN)


def _name(row: Row) -> str:
    return " ".join((row.measure, row.metric, row.condition))[:200]


def _with_provenance(kind: type[Entry], written: Any, provenances: list[dict[str, Any]]) -> Entry:
    values = {part.name: getattr(written, part.name) for part in fields(kind)}
    if "segments" in values:
        values["segments"] = [_with_provenance(Segment, segment, provenances) for segment in values["segments"]]
    return kind(**{**values, "provenance": provenances[written.machine]})


def schema_of(content: bytes) -> object:
    """Returns the schema that a file names; None if it names none."""
    # In a sealed file it is on the second line, so a large file need not be parsed.
    sealed = _SCHEMA_LINE.match(content.partition(b"\n")[2]) if is_sealed(content) else None
    try:
        return int(sealed[1]) if sealed else json.loads(content)["schema"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def check_schema(path: Path, schema: object) -> None:
    """Raises UsageError for an unknown schema."""
    if schema not in (1, SCHEMA):
        problem = f"a record of schema {str(schema)[:20]}, this capsbench reads up to {SCHEMA}"
        remedy = "update capsbench, or use another folder" if _is_newer(schema) else RUN_AGAIN
        raise UsageError(Kind.DAMAGED, problem, file=path, value=schema, expected=remedy)


def check_not_newer(path: Path) -> None:
    """Raises UsageError if a newer capsbench wrote the existing file, which must not be overwritten.

    The digest is not checked: a newer capsbench may compute it in another way.
    """
    try:
        content = read_file(path)
    except OSError:
        return
    schema = schema_of(content)
    if schema is not None:
        check_schema(path, schema)


def _is_newer(schema: object) -> bool:
    return isinstance(schema, int) and schema > SCHEMA


def rows_to_plain(rows: list[Row]) -> list[dict[str, Any]]:
    """Converts rows to dictionaries for JSON, without the fields that are None."""
    return [{name: fact for name, fact in row._asdict().items() if fact is not None} for row in rows]
