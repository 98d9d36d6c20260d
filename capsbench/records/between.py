"""The file of the rows of a measure from one network, the source, to another, the target."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from capsbench.errors import Kind, UsageError
from capsbench.measures.spec import MeasureSpec
from capsbench.records import file, schema1
from capsbench.records.cell import Whole
from capsbench.records.parse import UnfitError, parse_json
from capsbench.records.record import TRAINING, Facts, Measurement, Name, Row, explain_unfit
from capsbench.registry import BUILT_IN, measure_name

TAKEN_AGAIN = "the next run takes it again"


@dataclass(frozen=True)
class RowsBetween:
    """The content of such a file; ``data`` and ``declaration`` are as in `Measurement`; older files have none."""

    measure: Name
    source: Name
    target: Name
    rows: list[Row]
    schema: Whole
    version: Whole = schema1.VERSION
    provenance: Facts = field(default_factory=dict)
    code: Name | None = None
    data: Name | None = None
    declaration: MeasureSpec | None = None

    def to_measurement(self) -> Measurement:
        """Returns the rows as a measurement of the target."""
        return Measurement(
            self.rows, self.version, self.provenance, code=self.code, data=self.data, declaration=self.declaration
        )


_BETWEEN = TypeAdapter(RowsBetween)


def to_bytes(spec: str, source: str, target: str, taken: Measurement) -> bytes:
    """Returns the content of a file of rows from a source to a target."""
    between = RowsBetween(
        spec, source, target, taken.rows, file.SCHEMA, taken.version, taken.provenance, taken.code, taken.data
    )
    content = {**asdict(between), "rows": file.rows_to_plain(taken.rows), "declaration": taken.declaration}
    if taken.declaration is None:  # only a user's own measure has one
        del content["declaration"]
    return file.seal_json(content)


def from_bytes(path: Path, content: bytes) -> RowsBetween:
    """Returns the rows of a file whose seal was checked.

    Raises:
        UsageError: it is of another schema or damaged, or it holds rows of other networks or of another measure, a number twice,
            or one that no measurement gives.
    """
    file.check_schema(path, file.schema_of(content))
    try:
        between = parse_json(_BETWEEN, content)
    except UnfitError as error:
        raise _to_error(path, str(error)) from error
    problem = _find_problem(path, between)
    if problem is not None:
        raise _to_error(path, problem)
    return between


def _find_problem(path: Path, between: RowsBetween) -> str | None:
    if (between.source, between.target) != (path.parent.name, path.stem):
        return "it is of other networks"
    others = {TRAINING, *BUILT_IN["measure"]} - {measure_name(between.measure)}
    for row in between.rows:
        number = " ".join((row.measure, row.metric, row.condition))[:200]
        if row.measure in others or not row.condition.startswith(between.source):
            return f"its {number!r} is of another measure or source"
        unfit = explain_unfit(row)
        if unfit is not None:
            return f"its {number!r} is {unfit}"
    counts = Counter((row.metric, row.condition, row.level) for row in between.rows)
    twice = next((key for key, count in counts.items() if count > 1), None)
    return None if twice is None else f"it has {' '.join(twice[:2])[:200]!r} twice"


def _to_error(path: Path, problem: str) -> UsageError:
    return UsageError(Kind.DAMAGED, f"not whole ({problem})", file=path, expected=TAKEN_AGAIN)
