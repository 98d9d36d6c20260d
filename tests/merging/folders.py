"""Results folders as machines leave them, with networks whose weights and numbers a test chooses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from capsbench.records.record import Artifact, Measurement, Record, Row
from capsbench.records.store import Store
from tests.making import make_capsules, make_record

ACCURACY = Row("accuracy", "accuracy", "test", 0.9, "fraction")
ROTATED = Row("affine", "accuracy", "rotation", 0.5, "fraction")
LATENCY = Row("speed", "latency p50", "inference", 5.0, "ms")
TRANSFER = Row("transfer", "success rate", "", 0.3, "fraction")


def write_network(
    folder: Path,
    rows: Iterable[Row] = (ACCURACY,),
    *,
    seed: int = 0,
    weights: bytes | None = b"weights",
    kept: bytes | None = None,
    run: int | None = 1,
    **fields: Any,
) -> Record:
    """Writes the record of a trained network into a folder, with its weights and the array that its measure accuracy kept."""
    store, cell = Store(folder), make_capsules(seed=seed)
    record = make_record(cell, rows, **fields)
    assert record.training is not None
    training = replace(record.training, run=run, weights=write_artifact(store, store.weights_path(cell.id), weights))
    measures: dict[str, Measurement] = {}
    for spec, taken in record.measures.items():
        content = kept if spec == "accuracy" else None
        measures[spec] = replace(taken, kept=write_artifact(store, store.kept_path(spec, cell.id), content))
    record = replace(record, training=training, measures=measures)
    store.write(record)
    return record


def write_artifact(store: Store, path: Path, content: bytes | None) -> Artifact | None:
    if content is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Artifact(path.relative_to(store.folder).as_posix(), hashlib.sha256(content).hexdigest())


def write_transfer(folder: Path, source: Record, target: Record, value: float = 0.3) -> Path:
    """Writes rows of the measure transfer from one network to another."""
    store, row = Store(folder), TRANSFER._replace(condition=source.cell.id, value=value)
    store.write_between("transfer", source.cell.id, target.cell.id, Measurement([row]))
    return store.between_path("transfer", source.cell.id, target.cell.id)


def read_files(folder: Path) -> dict[str, bytes]:
    """Returns path -> content of the files in a folder, but for its lock."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
