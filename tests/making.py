"""Cells and records made by tests, with numbers that the test chooses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from capsbench.records.cell import Cell
from capsbench.records.record import TRAINING, Artifact, Failure, Measurement, Record, Row, Training

CAPSULES: dict[str, Any] = {
    "dataset": "digits",
    "train_size": None,
    "network": "matrix-capsules",
    "size": "tiny",
    "routing": "em",
    "iterations": 3,
    "loss": "spread",
    "reconstruction": False,
    "reconstruction_weight": 0.0005,
    "optimizer": "adam",
    "learning_rate": 0.003,
    "schedule": "one-cycle",
    "decay": 0.9,
    "weight_decay": 0.0,
    "clip": 0.0,
    "epochs": 10,
    "patience": 0,
    "batch_size": 64,
    "shift": 1,
    "seed": 0,
    "precision": "float32",
    "device": "cpu",
    "backend": "auto",
    "threads": 2,
    "options": {"network.stem": 32, "routing.epsilon": 0.01},
    "code": {},
}
"""The fields of a cell of EM routing."""


def make_capsules(**fields: Any) -> Cell:
    """A cell of EM routing, but for the fields given; no network is built."""
    return Cell(**{**CAPSULES, **fields})


def make_record(
    cell: Cell,
    rows: Iterable[Row] = (),
    *,
    history: Iterable[Mapping[str, float]] = (),
    provenance: Mapping[str, Any] | None = None,
    measured: Iterable[str] = (),
    wanted: Iterable[str] = (),
    failures: Mapping[str, str] | None = None,
    started: str = "2026-01-01T00:00:00+00:00",
    seconds: float = 12.0,
    backends: Iterable[str] = (),
    **fields: Any,
) -> Record:
    """The record of a trained network.

    Args:
        rows: those of the training and of measures, by the name of the measure.
        measured: specs in the place of the names of their measures, and measures without rows.
        wanted: measures that are asked for beside those that were taken.
        failures: spec -> reason.
        fields: further ones of the record.
    """
    facts = dict(provenance or {})
    specs = {spec.partition(":")[0]: spec for spec in measured}
    measures: dict[str, list[Row]] = {spec: [] for spec in measured}
    of_training = []
    for row in rows:
        own = of_training if row.measure == TRAINING else measures.setdefault(specs.get(row.measure, row.measure), [])
        own.append(row)
    training = Training(
        of_training,
        [dict(epoch) for epoch in history],
        provenance=facts,
        started=started,
        seconds=seconds,
        backends=[*backends],
    )
    return Record(
        cell,
        training,
        {spec: Measurement(own, provenance=facts, kept=_kept(spec, cell)) for spec, own in measures.items()},
        {spec: Failure(reason) for spec, reason in (failures or {}).items()},
        wanted=[*measures, *wanted],
        **fields,
    )


def _kept(spec: str, cell: Cell) -> Artifact:
    """Where a test may keep arrays of a measure; their digest is not noted."""
    return Artifact(f"kept/{spec.replace(':', '.')}/{cell.id}.safetensors")


def make_failed(cell: Cell, reason: str = "the loss became nan", **fields: Any) -> Record:
    """The record of a cell that could not be trained."""
    return Record(cell, failures={TRAINING: Failure(reason, "2026-01-01T00:00:00+00:00")}, **fields)


def with_rows(record: Record, rows: Iterable[Row]) -> Record:
    """The record with other numbers: rows of the training and of measures, by the name of the measure."""
    made = make_record(record.cell, rows, provenance=record.provenance)
    training = record.training or made.training
    assert training is not None
    assert made.training is not None
    return replace(record, training=replace(training, rows=made.training.rows), measures=made.measures)


STUCK = {"images": 500, "predicted": 500, "labelled": 50, "right": 50}
FINE = {"images": 500, "predicted": 52, "labelled": 50, "right": 480}
"""Counts of a network that says one class of ten, and of one that does not (`capsbench.stats.collapse.Counts`)."""


def counted(record: Record, images: int, predicted: int, labelled: int, right: int) -> Record:
    """The record with the counts of so many test images in the place of what it has of the measure accuracy."""
    shares = {"accuracy": right, "largest predicted share": predicted, "majority share": labelled}
    made = [Row("accuracy", "images", "test", float(images), "images")]
    made += [Row("accuracy", name, "test", count / images, "fraction") for name, count in shares.items()]
    return with_rows(record, [*(row for row in record.rows if row.measure != "accuracy"), *made])
