"""The trials of searches: a results folder of their own in a results folder, so that no table of results has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from capsbench.records.record import Record
from capsbench.records.store import Store

TRIALS = "trials"
"""The folder of the trials in a results folder."""


def open_trials(folder: Path) -> Store:
    """Returns the results folder of the trials in a results folder."""
    return Store(folder / TRIALS)


def read_trials(folder: Path) -> list[Record]:
    """Reads the trials of all searches in a results folder, those that failed too."""
    return read_trials_and_faults(folder)[0]


def read_trials_and_faults(folder: Path) -> tuple[list[Record], list[str]]:
    """Reads the trials of all searches in a results folder, and a line for each file of them that cannot be read."""
    store = open_trials(folder)
    records, faults = store.records() if store.folder.is_dir() else ([], [])
    return [record for record in records if record.tuning is not None], faults


def read_validation(record: Record | None) -> float:
    """Returns the validation performance of a trained network's weights; higher is better, minus infinity if it failed.

    It is the validation accuracy, or minus the validation loss of a network that does not classify. A training with a patience
    keeps the weights of its best epoch, any other those of the last.
    """
    if record is None or record.training is None or record.is_outdated:
        return -math.inf
    merits = [merit for epoch in record.history if (merit := _find_merit(epoch)) is not None]
    if not merits:
        return -math.inf
    return max(merits) if record.cell.patience else merits[-1]


def _find_merit(epoch: Mapping[str, float]) -> float | None:
    if "validation_accuracy" in epoch:
        return epoch["validation_accuracy"]
    return -epoch["validation_loss"] if "validation_loss" in epoch else None
