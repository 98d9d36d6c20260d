"""What is taken where the user, the data set and the network leave something open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from capsbench.records.cell import Cell

AXES: dict[str, list[Any]] = {
    "dataset": ["digits"],
    "size": ["tiny"],
    "seed": [0, 1, 2],
}
"""Field of the Cell -> its values in a matrix."""


def complete_axes(fields: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Returns the axes of a matrix: those asked for, and the values of what is left open.

    Routing and network decide each other where only one is named; with neither, the two papers' own pairs.
    """
    axes = {**AXES, **fields}
    if not axes.get("routing") and not axes.get("network"):
        axes["routing"] = ["dynamic", "em"]
    axes.setdefault("routing", [None])
    axes.setdefault("network", [None])
    return axes


RECIPE: dict[str, Any] = {
    "train_size": None,
    "reconstruction_weight": 0.0005,
    "optimizer": "adam",
    "learning_rate": 0.02,
    "schedule": "one-cycle",
    "decay": 0.9,
    "weight_decay": 0.0,
    "clip": 0.0,
    "patience": 0,
    "batch_size": 64,
    "precision": "float32",
    "device": "auto",
    "backend": "auto",
}
"""Field of the Cell -> its value in every cell.

The learning rate is one that suits every contender at ``tiny`` and ``small`` (docs/protocol.md has the grid it was taken from,
by validation accuracy); at ``paper`` capsule networks have their papers' and CNNs `PAPER_LEARNING_RATE`.
"""

PAPER_LEARNING_RATE = 0.001

DECIDED_BY = {
    "network": "the routing's own",
    "routing": "the network's own; dynamic,em with neither",
    "iterations": "the routing's own",
    "loss": "the network's own",
    "reconstruction": "the network's own",
    "epochs": "the data set's own",
    "shift": "the data set's own",
    "threads": "1; at paper size one a core",
    "measures": "what takes little time; all: every one that applies",
}
"""Field of the Cell -> what decides it where the user does not, in words."""


def default_in_words(field: str) -> str:
    """A field's default for a person: ``0,1,2`` or ``the network's own``."""
    if field in DECIDED_BY:
        return DECIDED_BY[field]
    values = AXES[field] if field in AXES else [RECIPE.get(field, Cell.model_fields[field].default)]
    return ",".join("none" if value is None else str(value) for value in values)
