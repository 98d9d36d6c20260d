"""Records as runs would leave them, with numbers chosen by the test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from capsbench.measures.accuracy.spec import TEST_ACCURACY
from capsbench.planning.matrix import cells_of
from capsbench.records.cell import Cell
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from tests.making import make_record, with_rows

PROVENANCE: dict[str, Any] = {
    "commit": None, "cpu": "a CPU", "gpu": None, "cores": 2, "python": "3.11.7", "torch": "2.15.0", "numpy": "2.4.6",
}  # fmt: skip

SEEDS = (0, 1, 2, 3, 4)


@cache  # a cell's network is built to see that it can be
def cell(seed: int = 0, **request: Any) -> Cell:
    """A cell of dynamic routing, unless the request says otherwise."""
    asked = {"routing": "dynamic", "device": "cpu", "baseline": "none", **request}
    (made,) = cells_of({**asked, "seeds": seed})
    return made


def record(
    accuracy: float,
    seed: int = 0,
    *,
    area: float = 0.7,
    step: float = 10.0,
    parameters: float = 1000,
    rows: Iterable[Row] = (),
    provenance: dict[str, Any] | None = None,
    measure: str = "accuracy,affine,speed",
    **request: Any,
) -> Record:
    """A finished record; ``rows`` come beside those of its numbers."""
    made = cell(seed, **request)
    return make_record(
        made,
        [
            Row("training", "parameters", "network", parameters, "parameters"),
            Row("training", "duration", "network", step / 3, "s"),
            Row("accuracy", "accuracy", "test", accuracy, "fraction"),
            Row("affine", "area under the curve", "rotation", area, "fraction"),
            Row("cost", "flops", "inference", 2.0 * parameters, "FLOP/image"),
            Row("speed", "latency p50", "training step", step, "ms"),
            *rows,
        ],
        provenance={**PROVENANCE, **(provenance or {})},
        measured=[spec.strip() for spec in measure.split(",")],
    )


NETWORKS: list[dict[str, Any]] = [
    {"routing": "dynamic"},
    {"routing": "dynamic", "iters": 1},
    {"routing": "em"},
    {"routing": "uniform"},
]


def draws(seed: int, networks: Sequence[dict[str, Any]] = NETWORKS, **changes: Any) -> list[Record]:
    """A record of each network, whose numbers are drawn by the seed about a mean of 95 % and a spread of half a point."""
    records = []
    for place, network in enumerate(networks):
        noise = np.random.default_rng([seed, place]).normal(scale=0.005, size=2)
        numbers = {"accuracy": 0.95 + noise[0], "area": 0.7 + noise[1], **changes}
        records.append(record(seed=seed, **numbers, **network))
    return records


def write(folder: Path, records: Iterable[Record]) -> Path:
    """A results folder with these records."""
    for each in records:
        Store(folder).write(each)
    return folder


def title(made: Record) -> str:
    """The title of a record's contender in a check."""
    return made.cell.title.rpartition(", seed ")[0]


def all_right(of: Record) -> Record:
    """The record with an accuracy of 1."""
    rows = [row._replace(value=1.0) if row[:3] == TEST_ACCURACY else row for row in of.rows]
    return with_rows(of, rows)


def keep_predictions(folder: Path, of: Record, right: Iterable[bool], labels: Iterable[int] | None = None) -> None:
    """Keeps predictions beside a record: of the label where right, else of the next class."""
    correct = torch.tensor([*right])
    label = torch.arange(len(correct)) % 10 if labels is None else torch.tensor([*labels])
    predictions = torch.where(correct, label, (label + 1) % 10)
    store = Store(folder)
    tensors = {"label": label.to(torch.int32), "prediction": predictions.to(torch.int32)}
    store.write_tensors(store.kept_path("accuracy", of.cell.id), tensors)
