"""A round of a search: cells that are run together, before anything is decided by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from capsbench.planning.matrix import PlannedCell
from capsbench.presenting.notebook import Output
from capsbench.records.store import Store
from capsbench.running.outcome import Outcome

RunCells = Callable[[Sequence[PlannedCell], Store, Sequence[str]], Outcome]
"""(cells, results folder, remarks) -> the outcome of their run."""


def describe_search(trials: Outcome, results: Outcome | None, items: Sequence[str]) -> Output:
    """Returns what a notebook shows of a search: the outcome of its results, or of its trials if these are not finished."""
    output = (trials if results is None else results).describe_output()
    lead = f"trials: {output.lead}" if results is None else output.lead
    return replace(output, lead=lead, items=[*items, *output.items])


def remove_weights(store: Store) -> None:
    """Removes the weights of trials: these are judged by their records, and the networks of all would fill a disk."""
    for path in store.folder.glob("weights/*.safetensors"):
        path.unlink(missing_ok=True)
