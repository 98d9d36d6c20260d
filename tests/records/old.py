"""Records as capsbench 0.1.0 wrote them, in schema 1."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from capsbench.records.file import rows_to_plain
from capsbench.records.record import Record
from capsbench.records.schema1 import OldCell
from capsbench.records.store import Store


def write_old(record: Record, folder: Path, measures: Iterable[str], source: Store | None = None) -> str:
    """Writes a record of schema 1 into a folder, and gives the identity that it has there.

    Args:
        measures: those of the record's that it has; they are a part of that identity.
        source: where the weights of the record lie, which come along.
    """
    assert record.training is not None
    taken = {spec: record.measures[spec] for spec in measures}
    cell = OldCell.model_validate({**record.cell.model_dump(), "measures": sorted(taken)})
    rows = [*record.training.rows, *(row for measurement in taken.values() for row in measurement.rows)]
    content = {
        "schema": 1,
        "id": cell.id,
        "status": "finished",
        "reason": "",
        "cell": cell.model_dump(mode="json"),
        "rows": rows_to_plain(rows),
        "history": record.training.history,
        "provenance": {**record.provenance, "started": record.training.started, "seconds": record.training.seconds},
        "measured": sorted(taken),
    }
    path = folder / "records" / f"{cell.id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    if source is not None:
        weights = folder / "weights" / f"{cell.id}.safetensors"
        weights.parent.mkdir(exist_ok=True)
        weights.write_bytes(source.weights_of(record).read_bytes())
    return cell.id
