"""Defaults for what a request, the data set and the network leave open."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from capsbench.records.cell import FIELDS, Cell, asked_fields
from capsbench.records.tuning import USUAL_STUDIES

AXES = {name: list(declaration.axis) for name, declaration in FIELDS.items() if declaration.axis}
"""Field of the Cell -> its values in a matrix that names none."""

FIELD_DEFAULTS = {
    name: FIELDS[name].default
    for name in asked_fields().values()
    if name not in AXES and not FIELDS[name].decided_by and Cell.model_fields[name].is_required()
}
"""Field of the Cell -> its value in every cell, unless the user or the network sets another."""

PAPER_LEARNING_RATE = 0.001
"""The learning rate of CNNs at paper size."""

STUDIES, TRIALS = USUAL_STUDIES, 20
"""The studies of a contender in a search for settings, and the trials of all of them together."""

SECONDS_BETWEEN_CHECKPOINTS = 60.0
"""The least time between two checkpoints of a training."""


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


def usable_cores() -> int:
    """Returns the cores that this process may use, which in a container can be fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_default(field: str) -> str:
    """Describes a field's default for a person: ``0,1,2`` or ``the network's own``."""
    if FIELDS[field].decided_by:
        return FIELDS[field].decided_by
    values = AXES.get(field) or [FIELD_DEFAULTS.get(field, Cell.model_fields[field].default)]
    return ",".join("none" if value is None else str(value) for value in values)
