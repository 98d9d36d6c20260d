"""Reader of schema 1, the records that capsbench 0.1.0 wrote.

In schema 1 the measures were part of a cell's identity, all numbers were in one list, and files had no digests. If a results
folder has a file SHA256SUMS in the format of `sha256sum`, the files that it names are checked against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter

from capsbench.errors import Kind, UsageError
from capsbench.measures.speed.spec import SPEED
from capsbench.records.cell import Cell, Whole, digest_fields
from capsbench.records.disk import read_file
from capsbench.records.file import RUN_AGAIN, check_entries, check_schema, schema_of
from capsbench.records.parse import UnfitError, parse_json
from capsbench.records.parts import Parts
from capsbench.records.record import TRAINING, Artifact, Facts, Failure, Measurement, Name, Record, Row, Text, Training
from capsbench.registry import measure_name

SUMS = "SHA256SUMS"

VERSION = 1
"""The version of every component and measure when records of schema 1 were written."""


class OldCell(Cell):
    """A cell of schema 1, whose identity includes its measures and its GPU."""

    device: str  # type: ignore[assignment]
    measures: tuple[str, ...]

    @cached_property
    def id(self) -> str:
        return digest_fields(self.model_dump(mode="json", exclude_defaults=True))

    def to_cell(self) -> Cell:
        """Returns the current cell, without the fields that do not belong to a network."""
        fields = self.model_dump(exclude={"measures"})
        code = {part: digest for part, digest in self.code.items() if not part.startswith("measure ")}
        device = self.device.partition(":")[0]
        if device not in ("cpu", "cuda"):
            raise ValueError(f"device: expected cpu or cuda, got {self.device!r}")
        return Cell.model_construct(**{**fields, "code": code, "device": device})  # all other fields are validated


class _Note(BaseModel):
    """The failure of a measure."""

    reason: str
    failed: str
    traceback: str = ""


class _Facts(BaseModel):
    """The provenance of a record: facts about machine and software, mixed with some of the training and of measures."""

    model_config = ConfigDict(extra="allow", str_max_length=100_000)
    __pydantic_extra__: Facts

    started: str | None = None
    seconds: FiniteFloat | None = None
    backend: str | None = None
    threads: Whole | None = None
    measured: Facts | None = None
    measuring_seconds: dict[str, FiniteFloat] = Field({}, alias="measuring seconds")
    failed_measures: dict[str, _Note] = Field({}, alias="failed measures")
    failed: str = ""
    traceback: str = ""


@dataclass(frozen=True, kw_only=True)
class _Written:
    """A record as it is in its file."""

    schema: Whole
    id: Name
    status: Literal["trained", "finished", "failed"]
    reason: Text
    cell: OldCell
    rows: list[Row]
    history: list[dict[Name, FiniteFloat]]
    provenance: _Facts
    measured: list[Name] = field(default_factory=list)


_WRITTEN = TypeAdapter(_Written)


def from_bytes(path: Path, content: bytes, sums: Mapping[str, str]) -> Record:
    """Returns the record of a file of schema 1.

    Args:
        sums: path inside the results folder -> digest, from `read_sums`; for the arrays that measures kept.

    Raises:
        UsageError: the file is damaged, or its schema is unknown.
    """
    try:
        written = parse_json(_WRITTEN, content)
    except UnfitError as error:
        schema = schema_of(content)
        if schema is not None:
            check_schema(path, schema)
        raise UsageError(Kind.DAMAGED, f"not a whole record ({error})", file=path, expected=RUN_AGAIN) from error
    check_schema(path, written.schema)
    if written.schema != 1 or not written.id == written.cell.id == path.stem:
        problem = "holds another cell, or one of another protocol"
        raise UsageError(Kind.DAMAGED, problem, file=path, expected=RUN_AGAIN)
    try:
        record = _to_record(written, sums)
    except ValueError as error:
        raise UsageError(Kind.DAMAGED, f"not a whole record ({error})", file=path, expected=RUN_AGAIN) from error
    check_entries(path, record)
    return record


def read_sums(folder: Path) -> dict[str, str]:
    """Reads SHA256SUMS: path inside the results folder -> SHA-256 digest; empty if there is no such file."""
    try:
        lines = read_file(folder / SUMS).decode(errors="replace").splitlines()
    except OSError:
        return {}
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    return {pair[1].lstrip("*"): pair[0] for pair in pairs if len(pair) == 2}


def _to_record(written: _Written, sums: Mapping[str, str]) -> Record:
    facts = written.provenance
    machine = dict(facts.model_extra or {})
    cell = written.cell.to_cell()
    if written.status == "failed":
        failure = Failure(written.reason, facts.failed, facts.traceback)
        return Record(cell, failures={TRAINING: failure}, wanted=[*written.cell.measures], aliases=[written.id])
    rows = _rows_by_spec(written)
    training = Training(
        rows=rows.pop(TRAINING, []),
        history=written.history,
        versions=dict.fromkeys([TRAINING, *(part.kind for part in Parts.from_cell(cell))], VERSION),
        provenance=machine,
        started=facts.started,
        seconds=facts.seconds,
        backends=[facts.backend] if facts.backend else [],
        weights=Artifact(f"weights/{written.id}.safetensors"),
    )
    # Measures that need the machine for themselves ran last and have their own facts; the only built-in one is speed.
    alone = machine if facts.measured is None else facts.measured
    measures = {
        spec: Measurement(
            rows=rows.get(spec, []),
            version=VERSION,
            provenance=alone if measure_name(spec) == SPEED else machine,
            taken=facts.started,
            seconds=facts.measuring_seconds.get(spec),
            kept=_kept_artifact(spec, written.id, sums),
            code=written.cell.code.get(f"measure {measure_name(spec)}"),
        )
        for spec in dict.fromkeys([*written.measured, *rows])
    }
    failures = {spec: Failure(note.reason, note.failed, note.traceback) for spec, note in facts.failed_measures.items()}
    wanted = [*measures] if written.status == "finished" else [*written.cell.measures]
    return Record(cell, training, measures, failures, wanted, aliases=[written.id])


def _rows_by_spec(written: _Written) -> dict[str, list[Row]]:
    """Sorts the rows by the spec of their measure, or `TRAINING`.

    The rows of a user's own measure may have any name, so rows whose name is no measure's belong to the first own measure.
    """
    specs = {measure_name(spec): spec for spec in (*written.cell.measures, *written.measured)}
    own_spec = next((spec for name, spec in specs.items() if ":" in name), None)
    rows: dict[str, list[Row]] = {}
    for row in written.rows:
        spec = TRAINING if row.measure == TRAINING else specs.get(row.measure, own_spec or row.measure)
        rows.setdefault(spec, []).append(row)
    return rows


def _kept_artifact(spec: str, cell_id: str, sums: Mapping[str, str]) -> Artifact:
    path = f"kept/{measure_name(spec).replace(':', '.')}/{cell_id}.safetensors"
    return Artifact(path, sums.get(path))
